"""From `module:attribute` to a handler: imports user code, and says in one line what is wrong with it."""

import contextlib
import importlib
import inspect
import json
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from switchboard.host.definition import Definition, Hook, build_definition, definition_of, methods_of
from switchboard.host.signature import Signature, read_signature
from switchboard.typed import converter_of

# Agents load side by side, each in a thread: an import that disturbs another is over long before so many looks
LOOKS = 100


class LoadError(Exception):
    """An entry that cannot be loaded. The text names the entry, the error and the line of user code."""


@dataclass(frozen=True, slots=True)
class Handler:
    """What one message is given to, and what it takes."""

    function: Callable[..., Any]
    signature: Signature


@dataclass(frozen=True, slots=True)
class Loaded:
    """An agent that is ready to be called.

    default: for messages that name no method, None when every message must; methods: those that callers can name. An
    agent without methods gives every message to its default, whatever it names.
    """

    definition: Definition
    default: Handler | None
    methods: Mapping[str, Handler] = field(default_factory=dict)

    def handler_for(self, method: str) -> Handler | None:
        """The handler of a message; None when the agent has no such method."""
        return self.methods.get(method) if method and self.methods else self.default


def load_entry(entry: str, config: Mapping[str, Any], code: Path) -> Loaded:
    """Import `module:attribute` and make a handler of it. Raises LoadError. code: where user code is."""
    module_name, _, attribute = entry.partition(":")
    if not module_name or not attribute:
        raise LoadError(f"{entry!r} is no entry: write module:attribute, for example app:summarize")
    module = import_module(entry, module_name, code)
    target: Any = module
    for part in attribute.split("."):
        owner, target = target, getattr(target, part, None)
        if target is None:
            known = ", ".join(sorted(name for name in vars(owner) if not name.startswith("_")))[:200]
            forget_module(module_name, code)
            raise LoadError(f"{entry}: {module_name} has no {attribute!r}; there is {known or 'nothing'}")
        if inspect.isclass(owner):
            instance = _in_user_code(entry, code, partial(_instantiate, owner, config))
            target = getattr(instance, part)
    return make_handler(entry, target, config, code)


def import_module(entry: str, name: str, code: Path) -> ModuleType:
    """Import a module of user code. Raises LoadError."""
    _forget_folders()
    module: ModuleType = _in_user_code(entry, code, lambda: importlib.import_module(name))
    return module


def _forget_folders() -> None:
    """Let Python look into folders anew. Its own way of doing so breaks off when another thread imports meanwhile."""
    for _ in range(LOOKS):
        with contextlib.suppress(RuntimeError, KeyError):  # its list of folders grew, or lacks one already
            importlib.invalidate_caches()
            return


def forget_module(name: str, code: Path) -> None:
    """Drop a module of user code, so that the next import reads it anew."""
    module = sys.modules.get(name)
    file = getattr(module, "__file__", None)
    if file and Path(file).is_relative_to(code):
        del sys.modules[name]


def make_handler(entry: str, target: Any, config: Mapping[str, Any], code: Path) -> Loaded:
    """A handler of a function, a class or an instance, decorated or not. Raises LoadError."""
    if isinstance(target, ModuleType) or not callable(target):
        raise LoadError(f"{entry} is a {type(target).__name__}: name a function or a class")
    definition = definition_of(target) or _in_user_code(entry, code, lambda: build_definition(target, None, {}))

    def handler_of(function: Any) -> Handler:
        return Handler(function, _in_user_code(entry, code, partial(read_signature, function)))

    if not inspect.isclass(target):
        return Loaded(definition, handler_of(target))
    named: dict[str, str] = _in_user_code(entry, code, partial(methods_of, target))
    instance = _in_user_code(entry, code, lambda: _instantiate(target, config))
    definition = replace(
        definition,
        on_start=_hook(instance, "on_start") or definition.on_start,
        on_stop=_hook(instance, "on_stop") or definition.on_stop,
    )
    default = getattr(instance, "handle", instance)
    if not callable(default) and not named:
        raise LoadError(f"{entry}: class {target.__name__} has neither handle, nor __call__, nor a @method")
    methods = {name: handler_of(getattr(instance, attribute)) for name, attribute in named.items()}
    return Loaded(definition, handler_of(default) if callable(default) else None, methods)


def _hook(instance: object, name: str) -> Hook | None:
    hook: Hook | None = getattr(instance, name, None)
    return hook


def _instantiate(kind: type, config: Mapping[str, Any]) -> Any:
    """Make the instance; a class whose __init__ takes something is given the config, as its annotation says."""
    if kind.__init__ is object.__init__:  # type: ignore[misc]
        return kind()
    parameters = list(inspect.signature(kind).parameters.values())
    if not parameters:
        return kind()
    annotation = inspect.get_annotations(kind.__init__, eval_str=True).get(parameters[0].name)  # type: ignore[misc]
    if annotation in (None, dict, Any) or not inspect.isclass(annotation):
        return kind(config)
    return kind(converter_of(annotation)(json.dumps(dict(config)).encode(), "application/json"))


def _in_user_code(entry: str, code: Path, work: Callable[[], Any]) -> Any:
    """Run what may raise anything, SystemExit included, because users wrote it."""
    try:
        return work()
    except (Exception, SystemExit) as error:
        raise LoadError(f"{entry}: {describe(error, code)}") from error


def describe(error: BaseException, code: Path) -> str:
    """`ImportError: No module named 'x' (app.py:3)`: the last line of the traceback and the last line of user code."""
    text = traceback.format_exception_only(error)[-1].strip()
    if isinstance(error, SyntaxError) and error.filename:
        return f"{text} ({Path(error.filename).name}:{error.lineno})"
    lines = [frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename).is_relative_to(code)]
    return f"{text} ({Path(lines[-1].filename).relative_to(code)}:{lines[-1].lineno})" if lines else text


def definitions_in(module: ModuleType) -> Iterator[tuple[Definition, Any]]:
    """The agents that a module defines, in the order of its text."""
    seen = set()
    for target in vars(module).values():
        definition = definition_of(target) if callable(target) else None
        if definition is not None and getattr(target, "__module__", None) == module.__name__ and id(target) not in seen:
            seen.add(id(target))
            yield definition, target
