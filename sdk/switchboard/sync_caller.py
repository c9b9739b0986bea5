"""Blocking calls for threads, carried out on the event loop of another."""

import asyncio
from collections.abc import Coroutine, Iterable, Iterator
from typing import Any, Literal, Protocol, TypeVar, Unpack, overload

from switchboard.answers import Answer, AnswerStream
from switchboard.composition import GATHER_LIMIT, Call, Calls, Outcome, PipelineResult
from switchboard.options import CallOptions, Target
from switchboard.to_many import Delivery
from switchboard_wire.agent_id import AgentId

T = TypeVar("T")


class AsyncCalls(Protocol):
    """The calls of a client or of a context."""

    async def request(self, target: Target, payload: object = None, **options: Unpack[CallOptions]) -> Answer: ...

    async def send(self, target: Target, payload: object = None, **options: Unpack[CallOptions]) -> None: ...

    def stream(self, target: Target, payload: object = None, **options: Unpack[CallOptions]) -> AnswerStream: ...

    @overload
    async def gather(
        self, calls: Calls, *, limit: int = GATHER_LIMIT, raise_errors: Literal[False] = False
    ) -> list[Outcome]: ...

    @overload
    async def gather(self, calls: Calls, *, limit: int = GATHER_LIMIT, raise_errors: Literal[True]) -> list[Answer]: ...

    async def pipeline(
        self, steps: Iterable[Call | Target], payload: object = None, *, go_on: bool = False
    ) -> PipelineResult: ...

    async def publish(
        self, topic: str, payload: object = None, *, source: str = "", **options: Unpack[CallOptions]
    ) -> list[Delivery]: ...

    async def broadcast(
        self, agent: str | AgentId, payload: object = None, **options: Unpack[CallOptions]
    ) -> list[Delivery]: ...


def _running_loop() -> asyncio.AbstractEventLoop | None:
    """This thread's loop, if one runs in it."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


class SyncCaller:
    """The calls of an async caller for other threads than its loop's; each blocks until it is done."""

    __slots__ = ("_calls", "_loop")

    def __init__(self, calls: AsyncCalls, loop: asyncio.AbstractEventLoop) -> None:
        self._calls = calls
        self._loop = loop

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        if _running_loop() is self._loop:
            work.close()
            raise RuntimeError(
                "this would block the loop that is to do it: in an async handler write await ctx.request(…)"
            )
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()  # Ctrl-C in this thread gives the call up
            raise

    def request(self, target: Target, payload: object = None, **options: Unpack[CallOptions]) -> Answer:
        """Send one message and wait for its answer. Raises a subclass of SwitchboardError."""
        return self._run(self._calls.request(target, payload, **options))

    def send(self, target: Target, payload: object = None, **options: Unpack[CallOptions]) -> None:
        """Send one message whose answer is not wanted; returns once the handler has finished with it."""
        self._run(self._calls.send(target, payload, **options))

    def stream(self, target: Target, payload: object = None, **options: Unpack[CallOptions]) -> Iterator[Any]:
        """Send one message and read its answer in pieces. Leaving the loop early cancels the call."""
        return self._iterate(self._calls.stream(target, payload, **options))

    def _iterate(self, stream: AnswerStream) -> Iterator[Any]:
        try:
            while True:
                try:
                    piece = self._run(stream.__anext__())
                except StopAsyncIteration:
                    return
                yield piece
        finally:
            self._run(stream.aclose())

    @overload
    def gather(
        self, calls: Calls, *, limit: int = GATHER_LIMIT, raise_errors: Literal[False] = False
    ) -> list[Outcome]: ...

    @overload
    def gather(self, calls: Calls, *, limit: int = GATHER_LIMIT, raise_errors: Literal[True]) -> list[Answer]: ...

    def gather(
        self, calls: Calls, *, limit: int = GATHER_LIMIT, raise_errors: bool = False
    ) -> list[Outcome] | list[Answer]:
        """Make many calls, at most `limit` at a time; answers and errors in the order of the calls.

        With `raise_errors`, the first error cancels the other calls and is raised.
        """
        if raise_errors:
            return self._run(self._calls.gather(calls, limit=limit, raise_errors=True))
        return self._run(self._calls.gather(calls, limit=limit))

    def pipeline(
        self, steps: Iterable[Call | Target], payload: object = None, *, go_on: bool = False
    ) -> PipelineResult:
        """Make calls one after the other; each gets what the one before answered. See Composition.pipeline."""
        return self._run(self._calls.pipeline(steps, payload, go_on=go_on))

    def publish(
        self, topic: str, payload: object = None, *, source: str = "", **options: Unpack[CallOptions]
    ) -> list[Delivery]:
        """Send a copy to every agent that is subscribed to a topic; what came of each. See ToMany.publish."""
        return self._run(self._calls.publish(topic, payload, source=source, **options))

    def broadcast(self, agent: str | AgentId, payload: object = None, **options: Unpack[CallOptions]) -> list[Delivery]:
        """Send a copy to every instance of an agent; what came of each."""
        return self._run(self._calls.broadcast(agent, payload, **options))
