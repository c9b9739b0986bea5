"""From an OPEN to a handler and back. The path of one unary call is kept short."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Mapping
from concurrent.futures import Future
from contextlib import aclosing
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from switchboard.content import encode
from switchboard.errors import Refusal
from switchboard.host.context import Context
from switchboard.host.hosted import HostedAgent
from switchboard.host.in_pieces import read_pieces, run_in_pieces
from switchboard.host.loading import Handler
from switchboard.host.signature import Kind
from switchboard_wire.calls import IncomingCall, Payload, close_of
from switchboard_wire.errors import ErrorValue, SwitchboardError, close_with, name_of
from switchboard_wire.limits import MAX_DATA_BYTES
from switchboard_wire.peer import Peer, copy_frame
from switchboard_wire.v1 import frames_pb2 as pb

log = logging.getLogger("switchboard.host")

# The sidecar holds messages to the Agent's maxPayloadBytes; this is the most that the API admits there
MAX_BODY_BYTES = 256 * 1024 * 1024
# A frame as received keeps the memory of its whole batch. Most handlers are done before a copy would pay
LONG_S = 1.0
_UNARY = frozenset({Kind.COROUTINE, Kind.FUNCTION})


@dataclass(frozen=True, slots=True)
class Ended:
    """One call that is over. error: None when it went well."""

    agent: str
    opened: pb.Open
    seconds: float
    error: ErrorValue | None


class Serving:
    """Gives each call to its agent in a task of its own. on_end: hears of every call, of use while developing.

    most: calls at once; more are refused. None: whoever sends them keeps to a limit.
    """

    def __init__(self, on_end: Callable[[Ended], None] | None = None, most: int | None = None) -> None:
        self.tasks: dict[asyncio.Task[None], Delivery] = {}
        self._looks = False
        self._most = most
        self._on_end = on_end
        self._by_name: Mapping[str, HostedAgent] = {}
        self._by_type: Mapping[str, HostedAgent] = {}

    def set_agents(self, agents: Mapping[str, HostedAgent]) -> None:
        """Take the agents that are ready, by name."""
        self._by_name = dict(agents)
        self._by_type = {agent.around.type: agent for agent in agents.values()}

    def open(self, peer: Peer, frame: pb.Frame) -> None:
        """Begin one call."""
        opened = frame.open
        agent = self._by_name.get(opened.agent) or self._by_type.get(opened.target.type)
        if agent is None:
            message = f"{opened.agent or opened.target.type!r} is not hosted here"
            peer.send(close_with(frame.call, ErrorValue(pb.AGENT_OFFLINE, message)))
            return
        if self._most is not None and len(self.tasks) >= self._most:
            error = ErrorValue(pb.OVERLOADED, f"{self._most} messages are in this host", retry_after_ms=100)
            peer.send(close_with(frame.call, error))
            return
        handler = agent.loaded.handler_for(opened.method)
        if handler is None:
            peer.send(close_with(frame.call, unknown_method(opened.method, agent)))
            return
        delivery = Delivery(peer, frame, agent, handler, self._on_end)
        delivery.task = task = asyncio.create_task(delivery.run())
        self.tasks[task] = delivery
        task.add_done_callback(self.tasks.pop)
        if not self._looks:
            self._looks = True
            asyncio.get_running_loop().call_later(LONG_S, self._look)

    def _look(self) -> None:
        """Every second, while there are calls: those that take long keep nothing of their batches."""
        self._looks = bool(self.tasks)
        if self._looks:
            asyncio.get_running_loop().call_later(LONG_S, self._look)
        for delivery in self.tasks.values():
            delivery.look()


class Delivery:
    """One call in the host, from OPEN to CLOSE."""

    __slots__ = (
        "_agent", "_context", "_error", "_frame", "_handler", "_incoming", "_looks", "_on_end", "_peer", "_thread",
        "task",
    )  # fmt: skip

    def __init__(
        self, peer: Peer, frame: pb.Frame, agent: HostedAgent, handler: Handler, on_end: Callable[[Ended], None] | None
    ) -> None:
        self._peer = peer
        self._frame = frame
        self._agent = agent
        self._handler = handler
        self._context: Context | None = None
        self._error: ErrorValue | None = None
        self._on_end = on_end
        self._looks = 0
        self._thread: Future[Any] | None = None  # runs on although the call was cancelled
        self.task: asyncio.Task[None] | None = None
        # A call that is whole in its first frame needs no machinery for pieces
        self._incoming: IncomingCall | None = None
        if frame.end and handler.signature.kind in _UNARY:
            peer.accept(frame.call, self._on_frame)
        else:
            self._incoming = IncomingCall(peer, frame, self._cancel)

    def _on_frame(self, frame: pb.Frame) -> None:
        if frame.kind == pb.CANCEL:
            self._peer.forget(frame.call)
            self._cancel()

    def _cancel(self) -> None:
        if self._context is not None:
            self._context.cancelled = True
        if self.task is not None:
            self.task.cancel()

    def look(self) -> None:
        """Called every `LONG_S`. The second time the call has lasted that long: go on with a copy of its frame."""
        self._looks += 1
        if self._looks == 2:
            self._frame = kept = copy_frame(self._frame)
            if self._incoming is not None:
                self._incoming.first = kept
            if self._context is not None:
                self._context.keep(kept.open)

    async def run(self) -> None:
        """Run the handler and close the call with what came of it."""
        agent = self._agent
        agent.enter()
        started = perf_counter()
        try:
            slots = agent.slots_for(self._frame.open)
            if slots is None:
                payload = await self._handle()
            else:
                await slots.acquire()
                try:
                    payload = await self._handle()
                finally:
                    self._after_thread(slots.release)
            await self._close(payload, int((perf_counter() - started) * 1e6))
        except asyncio.CancelledError:
            log.debug("call cancelled", extra=self._names())
            self._fail(ErrorValue(pb.CANCELLED, "the handler was cancelled", delivered=pb.DELIVERED_YES))
        except Refusal as refusal:
            self._fail(refusal.error)
        except (Exception, SystemExit) as error:  # user code: whatever it raises is the caller's answer
            log.error("handler failed", exc_info=error, extra=self._names())
            self._fail(describe(error))
        finally:
            self._after_thread(agent.leave)
            if self._on_end is not None:
                name = agent.around.name
                self._on_end(Ended(name, self._frame.open, perf_counter() - started, self._error))

    def _on_cut(self, thread: Future[Any]) -> None:
        self._thread = thread

    def _after_thread(self, act: Callable[[], None]) -> None:
        """Do it now, or once the thread has ended that works on although the call is over."""
        if self._thread is None:
            act()
        else:
            self._agent.after(self._thread, act)

    async def _handle(self) -> Payload:
        """Run the handler; what it yields is sent on the way."""
        agent, handler, incoming = self._agent, self._handler, self._incoming
        signature = handler.signature  # and no frame: `look` replaces all that hold it
        payload: tuple[Any, ...] = ()
        read = signature.read
        if read is not None and signature.streams_in:
            payload = (read_pieces(read, self._frame.content_type, incoming or self._frame.data),)
        elif read is not None:
            data = self._frame.data if incoming is None else await incoming.body(MAX_BODY_BYTES)
            try:
                payload = (read(data, self._frame.content_type),)
            except SwitchboardError as error:
                raise _refuse(error) from None
        if signature.takes_context:
            self._context = agent.context_of(self._frame.open)
            payload = (*payload, self._context)
        if signature.kind in _UNARY:
            return encode(await agent.call(handler, payload, self._on_cut))
        await self._send_pieces(run_in_pieces(agent, handler, payload, self._on_cut))
        return Payload()

    async def _send_pieces(self, pieces: AsyncGenerator[Any, None]) -> None:
        assert self._incoming is not None
        async with aclosing(pieces):
            async for piece in pieces:
                payload = encode(piece)
                size = len(payload.data)
                await self._incoming.send(payload.data, payload.content_type)
                if size and size % MAX_DATA_BYTES == 0:
                    # A full frame says that more of its piece follows; here nothing does
                    await self._incoming.send(b"", payload.content_type)

    async def _close(self, payload: Payload, processing_us: int) -> None:
        frame, peer = self._frame, self._peer
        if frame.open.reply == pb.REPLY_NONE:
            payload = Payload()
        number = frame.call
        if self._incoming is None:
            if number not in peer.calls:  # cancelled meanwhile
                return
            if len(payload.data) > MAX_DATA_BYTES:
                self._incoming = IncomingCall(peer, frame, self._cancel)
        if self._incoming is not None:
            await self._incoming.close(payload, processing_us)
            return
        answer = close_of(number, payload, processing_us)
        peer.forget(number)
        peer.send(answer)

    def _fail(self, error: ErrorValue) -> None:
        self._error = error
        number = self._frame.call
        if self._incoming is not None:
            self._incoming.fail(error)
        elif number in self._peer.calls:
            self._peer.forget(number)
            self._peer.send(close_with(number, error))

    def _names(self) -> dict[str, str]:
        return {"agent": self._agent.around.name, "message_id": self._frame.open.message_id}


def unknown_method(name: str, agent: HostedAgent) -> ErrorValue:
    """The error of a message for a method that the agent's class has not; it lists what there is."""
    there = ", ".join(sorted(agent.loaded.methods)) or "none"
    text = f"{agent.around.name} has no method {name[:80]!r}" if name else f"{agent.around.name} wants a method"
    return ErrorValue(pb.UNKNOWN_MESSAGE_TYPE, f"{text}: there is {there}", delivered=pb.DELIVERED_YES)


def describe(error: BaseException) -> ErrorValue:
    """What the caller of a handler that raised gets: the type and the message; the trace is for the log.

    A loop stays ROUTING_ERROR however many handlers it went through, and a chain of handlers that failed one after the
    other is told by the first failure alone.
    """
    if not isinstance(error, SwitchboardError):
        kind = type(error).__name__
        message = f"{kind}: {error}" if str(error) else kind
        return ErrorValue(pb.PROCESSING_ERROR, message[:1024], delivered=pb.DELIVERED_YES, details={"exception": kind})
    code, kind = error.error.code, name_of(error.error.code)
    message = error.message if code == pb.ROUTING_ERROR else f"{kind}: {error.message.removeprefix(f'{kind}: ')}"
    outer = pb.ROUTING_ERROR if code == pb.ROUTING_ERROR else pb.PROCESSING_ERROR
    return ErrorValue(outer, message[:1024], delivered=pb.DELIVERED_YES, details={"exception": kind})


def _refuse(error: SwitchboardError) -> Refusal:
    """A payload that the handler cannot take, as the caller's fault."""
    refusal = Refusal(error.message)
    refusal.error = ErrorValue(
        error.error.code, error.message, delivered=pb.DELIVERED_YES, details=dict(error.error.details)
    )
    return refusal
