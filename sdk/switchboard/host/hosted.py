"""One agent as this process hosts it: its handler, its state per key, its limit."""

import asyncio
import contextlib
import inspect
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Executor, Future
from contextvars import copy_context
from typing import Any

from switchboard.host.context import Context, Surroundings
from switchboard.host.definition import Hook
from switchboard.host.loading import Handler, Loaded
from switchboard.host.signature import Kind
from switchboard_wire.v1 import frames_pb2 as pb

# Keys whose state is kept per agent; the one that was used least recently goes first
MAX_KEYS = 10_000

# Handed the future of a thread that runs on although nobody waits for it any more
OnCut = Callable[[Future[Any]], None]


class HostedAgent:
    """A loaded agent. pool: where handlers that block run."""

    def __init__(self, loaded: Loaded, around: Surroundings, pool: Executor) -> None:
        self.loaded = loaded
        self.around = around
        self._in_flight = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._pool = pool
        self._states: OrderedDict[str, dict[str, Any]] = OrderedDict()
        limit = loaded.definition.concurrency
        self._slots = asyncio.Semaphore(limit) if limit else None

    def enter(self) -> None:
        """One more message is here."""
        self._in_flight += 1
        if self._in_flight == 1:
            self._idle.clear()

    def leave(self) -> None:
        self._in_flight -= 1
        if self._in_flight == 0:
            self._idle.set()

    async def idle(self) -> bool:
        """Wait until no message is here; False when `give_up` came first."""
        await self._idle.wait()
        return self._in_flight == 0

    def give_up(self) -> None:
        """Let those go on that wait for `idle`."""
        self._idle.set()

    def after(self, running: Future[Any], act: Callable[[], None]) -> None:
        """Do something on the loop once a thread has ended."""

        def hand_over(_: Future[Any]) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: the host is gone
                self.around.loop.call_soon_threadsafe(act)

        running.add_done_callback(hand_over)

    def context_of(self, opened: pb.Open) -> Context:
        return Context(self.around, opened, self._state_of(opened.target.key))

    def _state_of(self, key: str) -> dict[str, Any]:
        states = self._states
        state = states.get(key)
        if state is None:
            state = states[key] = {}
            if len(states) > MAX_KEYS:
                states.popitem(last=False)
        else:
            states.move_to_end(key)
        return state

    def slots_for(self, opened: pb.Open) -> asyncio.Semaphore | None:
        """Where a call waits for its turn; None when it need not.

        A call that its own chain waits for goes ahead, or it would wait for ever.
        """
        if self._slots is None or any(link.partition("/")[0] == self.around.type for link in opened.chain):
            return None
        return self._slots

    async def call(self, handler: Handler, arguments: tuple[Any, ...], on_cut: OnCut) -> Any:
        """Run a handler that gives one result."""
        if handler.signature.kind is Kind.COROUTINE:
            return await handler.function(*arguments)
        result = await self.in_thread(on_cut, handler.function, *arguments)
        return await result if inspect.isawaitable(result) else result

    async def in_thread(self, on_cut: OnCut | None, function: Any, *arguments: Any) -> Any:
        """Run what blocks. A thread cannot be cancelled: when we are, `on_cut` is told of the one that runs on."""
        running = self._pool.submit(copy_context().run, _without_stop_iteration, function, *arguments)
        try:
            return await asyncio.wrap_future(running, loop=self.around.loop)
        except asyncio.CancelledError:
            if on_cut is not None and not running.cancel():
                on_cut(running)
            raise

    async def run_hook(self, hook: Hook | None) -> None:
        """Run on_start or on_stop; one that is no coroutine function runs in a thread."""
        if hook is None:
            return
        result = hook() if inspect.iscoroutinefunction(hook) else await self.in_thread(None, hook)
        if inspect.isawaitable(result):
            await result


def _without_stop_iteration(function: Any, *arguments: Any) -> Any:
    """A Future cannot hold StopIteration: whoever waits for one would wait for ever."""
    try:
        return function(*arguments)
    except StopIteration as error:
        raise RuntimeError("the handler raised StopIteration") from error
