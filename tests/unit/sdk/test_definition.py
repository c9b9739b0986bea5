"""What `@agent` makes of functions and classes, and what the host reads from their signatures."""

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from switchboard import Context, agent, method
from switchboard.host.definition import Definition, definition_of, methods_of
from switchboard.host.signature import Kind, read_signature


def test_a_decorated_function_stays_what_it_was() -> None:
    @agent
    def summarize_text(text: str) -> str:
        """Shortens a text.

        More of it.
        """
        return text[:1]

    assert summarize_text("abc") == "a"
    assert definition_of(summarize_text) == Definition("summarize-text", description="Shortens a text.")


def test_options_are_kept() -> None:
    @agent(
        "writer",
        version="2.0.0",
        capabilities=["write", "draft@1.2.0"],
        topics=["news", "orders.*"],
        concurrency=3,
        description="Writes.",
    )
    async def compose(text: str) -> str:
        return text

    assert definition_of(compose) == Definition(
        "writer",
        "2.0.0",
        "Writes.",
        (("write", "1.0.0"), ("draft", "1.2.0")),
        (("news", False), ("orders.", True)),
        concurrency=3,
    )


def test_a_class_gets_its_name_and_a_subclass_does_not_inherit_it() -> None:
    @agent
    class FrontDesk:
        pass

    class Other(FrontDesk):
        pass

    found = definition_of(FrontDesk)
    assert found is not None
    assert found.type == "front-desk"
    assert definition_of(Other) is None


@pytest.mark.parametrize("name", ["Upper", "with_underscore", "with/key", "x" * 53, "-x"])
def test_a_type_that_is_no_dns_label_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"no agent type|has a key"):
        agent(name)(lambda text: text)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        pytest.param({"capabilities": "sum"}, r"write a list, capabilities=\[\"sum\"\]", id="a text for a list"),
        pytest.param({"topics": "news"}, r"write a list, topics=\[\"news\"\]", id="a text for a list of topics"),
        pytest.param({"capabilities": ["Sum it"]}, "capability 'Sum it': its name", id="a capability in words"),
        pytest.param({"capabilities": ["sum@2"]}, "capability 'sum@2': after @", id="a version of one number"),
        pytest.param({"topics": ["*"]}, r"topic '\*': write", id="every topic"),
        pytest.param({"topics": ["a*b"]}, r"topic 'a\*b': write", id="a star within"),
        pytest.param({"topics": ["x" * 254]}, "at most 253", id="a topic without end"),
        pytest.param({"version": "2"}, "version '2' of agent 'a': write", id="a version of one number of the agent"),
    ],
)
def test_what_would_find_nobody_is_refused_with_the_remedy(options: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        agent("a", **options)(lambda text: text)


def test_a_concurrency_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="concurrency of agent 'a' is 0"):
        agent("a", concurrency=0)(lambda text: text)


async def coroutine(text: str, ctx: Context) -> str:
    return text


def function(text: str) -> str:
    return text


async def pieces(text: str) -> AsyncIterator[str]:
    yield text


def sync_pieces(ctx: Context) -> Iterator[str]:
    yield ""


async def consumer(lines: AsyncIterator[str], context) -> str:  # type: ignore[no-untyped-def]
    return ""


async def nothing() -> None:
    pass


class Instance:
    async def __call__(self, text: str) -> str:
        return text


SHAPES = [
    pytest.param(coroutine, (Kind.COROUTINE, True, False, True), id="a coroutine function with a context"),
    pytest.param(function, (Kind.FUNCTION, True, False, False), id="a plain function"),
    pytest.param(pieces, (Kind.ASYNC_GENERATOR, True, False, False), id="an async generator"),
    pytest.param(sync_pieces, (Kind.GENERATOR, False, False, True), id="a generator that takes the context alone"),
    pytest.param(consumer, (Kind.COROUTINE, True, True, True), id="one that takes pieces, and an untyped context"),
    pytest.param(nothing, (Kind.COROUTINE, False, False, False), id="one that takes nothing"),
    pytest.param(Instance(), (Kind.COROUTINE, True, False, False), id="an instance that can be called"),
]


@pytest.mark.parametrize(("handler", "shape"), SHAPES)
def test_a_signature_is_read(handler: Callable[..., Any], shape: tuple[Kind, bool, bool, bool]) -> None:
    found = read_signature(handler)
    assert (found.kind, found.read is not None, found.streams_in, found.takes_context) == shape


def three(a: str, b: str, c: str) -> str:
    return a


def two_payloads(a: str, b: str) -> str:
    return a


@pytest.mark.parametrize("handler", [three, two_payloads])
def test_a_handler_that_takes_more_is_refused(handler: Callable[..., Any]) -> None:
    with pytest.raises(TypeError, match="a handler takes a payload and then, if it likes, ctx: Context"):
        read_signature(handler)


def test_an_annotation_that_is_unknown_is_named() -> None:
    def handler(text: "Missing") -> str:  # type: ignore[name-defined]  # noqa: F821
        return ""

    with pytest.raises(TypeError, match="'Missing' is not defined"):
        read_signature(handler)


def test_methods_are_found_by_the_name_for_callers_also_in_a_base() -> None:
    class Base:
        @method
        def list(self) -> None: ...

    class Orders(Base):
        @method("place-order")
        def place(self) -> None: ...

        def hidden(self) -> None: ...

    assert methods_of(Orders) == {"list": "list", "place-order": "place"}


def test_two_methods_of_one_name_are_refused() -> None:
    class Orders:
        @method("place")
        def first(self) -> None: ...

        @method("place")
        def second(self) -> None: ...

    with pytest.raises(ValueError, match="class Orders has two methods 'place': first and second"):
        methods_of(Orders)
