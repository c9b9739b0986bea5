"""What a handler takes and gives, read from its signature once, when it is loaded."""

import collections.abc
import inspect
import typing
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from switchboard.host.context import Context
from switchboard.typed import Converter, converter_of


class Kind(Enum):
    """How a handler is run."""

    COROUTINE = "coroutine"  # on the loop
    ASYNC_GENERATOR = "async generator"  # on the loop, a piece per yield
    FUNCTION = "function"  # in a thread
    GENERATOR = "generator"  # in a thread, a piece per yield


@dataclass(frozen=True, slots=True)
class Signature:
    """read: None when the handler takes no payload. streams_in: it takes an async iterator of pieces."""

    kind: Kind
    read: Converter | None
    streams_in: bool
    takes_context: bool


_STREAMS = (collections.abc.AsyncIterator, collections.abc.AsyncIterable)


def read_signature(handler: Callable[..., Any]) -> Signature:
    """Read a handler's signature. Raises TypeError, which says what cannot be."""
    function = handler if inspect.isroutine(handler) else type(handler).__call__
    try:
        hints = typing.get_type_hints(function, include_extras=True)
    except NameError as error:
        raise TypeError(f"an annotation of the handler cannot be resolved: {error}") from None
    names = [name for name, parameter in inspect.signature(handler).parameters.items() if _is_positional(parameter)]
    annotations = [hints.get(name, inspect.Parameter.empty) for name in names]
    contexts = [_is_context(name, found) for name, found in zip(names, annotations, strict=True)]
    _check(handler, names, contexts)
    payload = annotations[0] if names and not contexts[0] else None
    streams_in = typing.get_origin(payload) in _STREAMS
    if streams_in:
        payload = (typing.get_args(payload) or (Any,))[0]
    takes_payload = bool(names) and not contexts[0]
    return Signature(_kind_of(function), converter_of(payload) if takes_payload else None, streams_in, any(contexts))


def _is_positional(parameter: inspect.Parameter) -> bool:
    return parameter.kind in (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def _is_context(name: str, annotation: Any) -> bool:
    if annotation is inspect.Parameter.empty:
        return name in ("ctx", "context")
    return isinstance(annotation, type) and issubclass(annotation, Context)


def _check(handler: Callable[..., Any], names: list[str], contexts: list[bool]) -> None:
    if len(names) > 2 or (len(names) == 2 and not contexts[1]) or contexts[:2] == [True, True]:
        name = getattr(handler, "__name__", type(handler).__name__)
        raise TypeError(f"{name}({', '.join(names)}): a handler takes a payload and then, if it likes, ctx: Context")


def _kind_of(function: Callable[..., Any]) -> Kind:
    if inspect.isasyncgenfunction(function):
        return Kind.ASYNC_GENERATOR
    if inspect.iscoroutinefunction(function):
        return Kind.COROUTINE
    return Kind.GENERATOR if inspect.isgeneratorfunction(function) else Kind.FUNCTION
