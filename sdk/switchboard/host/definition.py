"""`@agent`: what makes a function or a class an agent. The decorated object stays what it was and can be called."""

import inspect
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict, TypeVar, Unpack, overload

from switchboard.host.finding import DEFAULT_VERSION, read_capabilities, read_topics
from switchboard_wire.agent_id import parse_agent_id
from switchboard_wire.errors import SwitchboardError
from switchboard_wire.names import SEMVER

ATTRIBUTE = "__switchboard_agent__"
METHOD_ATTRIBUTE = "__switchboard_method__"
Hook = Callable[[], Awaitable[None] | None]
T = TypeVar("T", bound=Callable[..., Any])


class AgentOptions(TypedDict, total=False):
    """What `@agent` can be told; all may be left out."""

    version: str  # 1.0.0 when left out
    description: str  # the first line of the docstring when left out
    capabilities: Sequence[str]  # names, or name@version
    topics: Sequence[str]  # subscriptions; one that ends with * is to every topic that begins so
    concurrency: int  # messages at once in this process; no limit but the pool's when left out
    on_start: Hook  # runs before the first message; the agent is not ready until it returns
    on_stop: Hook  # runs after the last message


@dataclass(frozen=True, slots=True)
class Definition:
    """An agent as its code describes it. capabilities: (name, version). topics: (topic, whether it is a prefix)."""

    type: str
    version: str = DEFAULT_VERSION
    description: str = ""
    capabilities: tuple[tuple[str, str], ...] = ()
    topics: tuple[tuple[str, bool], ...] = ()
    concurrency: int | None = None
    on_start: Hook | None = None
    on_stop: Hook | None = None


@overload
def agent(target: T, /) -> T: ...


@overload
def agent(type: str | None = None, /, **options: Unpack[AgentOptions]) -> Callable[[T], T]: ...


def agent(target: T | str | None = None, /, **options: Unpack[AgentOptions]) -> T | Callable[[T], T]:
    """Make a function or class an agent: `@agent`, `@agent("summarizer")`, `@agent(capabilities=["summarize"])`.

    The type is the name of the function or class in DNS form when none is given; an Agent resource whose entry names
    the function decides about type, version, capabilities and topics itself. Raises ValueError for what cannot be.
    """
    if target is None or isinstance(target, str):
        return lambda decorated: _define(decorated, target, options)
    return _define(target, None, options)


def _define(target: T, type_: str | None, options: AgentOptions) -> T:
    setattr(target, ATTRIBUTE, build_definition(target, type_, options))
    return target


def build_definition(target: object, type_: str | None, options: AgentOptions) -> Definition:
    """The definition of a function, class or instance. Raises ValueError."""
    name = type_ or _type_of(getattr(target, "__name__", type(target).__name__))
    try:
        parse_agent_id(name)
    except SwitchboardError as error:
        raise ValueError(error.message) from None
    if "/" in name:
        raise ValueError(f"{name!r} has a key: an agent is defined by its type alone")
    version = options.get("version", DEFAULT_VERSION)
    if not re.fullmatch(SEMVER, version):
        raise ValueError(
            f"version {version!r} of agent {name!r}: write a semantic version, three numbers such as 1.2.0"
        )
    concurrency = options.get("concurrency")
    if concurrency is not None and concurrency < 1:
        raise ValueError(f"concurrency of agent {name!r} is {concurrency}: say at least 1")
    doc = (getattr(target, "__doc__", None) or "").strip()
    return Definition(
        type=name,
        version=version,
        description=options.get("description", doc.splitlines()[0] if doc else ""),
        capabilities=read_capabilities(options.get("capabilities", ())),
        topics=read_topics(options.get("topics", ())),
        concurrency=concurrency,
        on_start=options.get("on_start"),
        on_stop=options.get("on_stop"),
    )


def definition_of(target: object) -> Definition | None:
    """The definition of a decorated object, None of any other. A subclass does not inherit its base's."""
    found = vars(target).get(ATTRIBUTE) if hasattr(target, "__dict__") else None
    return found if isinstance(found, Definition) else None


def _type_of(name: str) -> str:
    """`SummarizeText` and `summarize_text` → `summarize-text`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name).replace("_", "-").lower()


@overload
def method(target: T, /) -> T: ...


@overload
def method(name: str | None = None, /) -> Callable[[T], T]: ...


def method(target: T | str | None = None, /) -> T | Callable[[T], T]:
    """Let callers choose this method of an agent's class by its name: `@method`, `@method("place-order")`.

    A class with such methods answers messages that name one of them, and those that name none by `handle`, if it has
    it. The name is the function's when none is given.
    """
    if target is None or isinstance(target, str):
        return lambda decorated: _name_method(decorated, target)
    return _name_method(target, None)


def _name_method(target: T, name: str | None) -> T:
    setattr(target, METHOD_ATTRIBUTE, name or target.__name__)
    return target


def methods_of(kind: type) -> dict[str, str]:
    """Attributes of a class that `@method` marks, by the name for callers. Raises ValueError for one name twice."""
    found: dict[str, str] = {}
    for attribute in dir(kind):
        name = getattr(inspect.getattr_static(kind, attribute, None), METHOD_ATTRIBUTE, None)
        if name in found:
            raise ValueError(f"class {kind.__name__} has two methods {name!r}: {found[name]} and {attribute}")
        if name is not None:
            found[name] = attribute
    return found
