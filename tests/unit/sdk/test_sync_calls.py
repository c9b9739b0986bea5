"""Blocking calls where they cannot work: told, instead of a wait for ever."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pytest
from lone_host import NoUplink

from switchboard import Context, SyncClient
from switchboard.host.context import Surroundings
from switchboard_wire.deadlines import Deadlines
from switchboard_wire.v1 import frames_pb2 as pb

WAIT_S = 15.0


def raised_by(work: Callable[[], Any]) -> BaseException | None:
    """What this raises, in a thread of its own, so that one that waits for ever can be left."""
    ended: Future[Any] = Future()

    def run() -> None:
        try:
            ended.set_result(work())
        except Exception as error:  # noqa: BLE001 - it is raised on the other side
            ended.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return ended.exception(WAIT_S)


def make_context() -> Context:
    return Context(Surroundings(NoUplink(), Deadlines(), "a", "a", {}), pb.Open(message_id="m"), {})


@pytest.mark.parametrize(
    "call",
    [
        pytest.param(lambda sync: sync.request("b"), id="request"),
        pytest.param(lambda sync: sync.gather([("b", "x")]), id="gather"),
        pytest.param(lambda sync: list(sync.stream("b")), id="stream"),
    ],
)
def test_a_blocking_call_on_the_loop_of_the_host_is_refused_in_words(call: Callable[[Any], Any]) -> None:
    async def handler() -> None:
        call(make_context().sync)

    error = raised_by(lambda: asyncio.run(handler()))
    assert isinstance(error, RuntimeError)
    assert "in an async handler write await ctx.request(…)" in str(error)


async def test_a_thread_may_block() -> None:
    with pytest.raises(AssertionError, match="nobody is called from here"):
        await asyncio.to_thread(make_context().sync.request, "b")


def test_a_client_that_cannot_begin_says_why() -> None:
    wrong: Any = 5
    error = raised_by(SyncClient("localhost:1", token_file=wrong).__enter__)
    assert isinstance(error, TypeError)
