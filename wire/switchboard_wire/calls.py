"""A call as its two ends see it: `OutgoingCall` of the opener, `IncomingCall` of the answerer.

Routers do not use these: they pass frames on. Both ends chunk large payloads and keep to the credit of the call.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import NamedTuple

from switchboard_wire.directions import Receiver, Sender
from switchboard_wire.errors import ErrorValue, SwitchboardError, close_with, failure
from switchboard_wire.limits import MAX_DATA_BYTES, MAX_UINT32
from switchboard_wire.peer import Peer
from switchboard_wire.v1 import frames_pb2 as pb

GAVE_UP = ErrorValue(pb.CANCELLED, "the caller gave up")


# Two are made for each call, and a frozen dataclass takes twice the time
class Payload(NamedTuple):
    """Bytes with their media type and the application's name for their type."""

    data: bytes = b""
    content_type: str = ""
    data_type: str = ""


def new_open(open_: pb.Open, payload: Payload, *, end: bool) -> pb.Frame:
    """An OPEN frame with as much of the payload as one frame carries. end: nothing follows this payload."""
    fits = len(payload.data) <= MAX_DATA_BYTES
    return pb.Frame(
        kind=pb.OPEN,
        open=open_,
        data=payload.data if fits else payload.data[:MAX_DATA_BYTES],
        content_type=payload.content_type,
        data_type=payload.data_type,
        end=end and fits,
    )


def close_of(call: int, payload: Payload, processing_us: int = 0, headers: Mapping[str, str] | None = None) -> pb.Frame:
    """The CLOSE that ends `call` with a result of one frame; its error: `errors.close_with`.

    Raises ValueError for what no frame can hold, so it is made before the call counts as over.
    """
    return pb.Frame(
        kind=pb.CLOSE,
        call=call,
        data=payload.data,
        content_type=payload.content_type,
        data_type=payload.data_type,
        processing_us=min(processing_us, MAX_UINT32),
        headers=headers,
    )


class _CallEnd:
    """What both ends have: a sender and a receiver, made when needed, as most calls are one frame each way."""

    __slots__ = ("_is_whole", "_peer", "_receiving", "_sending", "number", "over")
    number: int

    def __init__(self, peer: Peer, *, is_whole: bool = False) -> None:
        """is_whole: the frame that began the call is all that this end receives."""
        self._peer = peer
        self._is_whole = is_whole
        self._sending: Sender | None = None
        self._receiving: Receiver | None = None
        self.over = False

    @property
    def _sender(self) -> Sender:
        if self._sending is None:
            self._sending = Sender(self._peer, self.number)
            self._sending.over = self.over
        return self._sending

    @property
    def _receiver(self) -> Receiver:
        if self._receiving is None:
            self._receiving = Receiver(self._peer, self.number)
            self._receiving.ended = self.over or self._is_whole
        return self._receiving

    def _finish(self) -> None:
        self.over = True
        self._peer.forget(self.number)
        if self._sending is not None:
            self._sending.stop()
        if self._receiving is not None:
            self._receiving.end()


class OutgoingCall(_CallEnd):
    """One call that this end opened.

    closed: resolves with the CLOSE frame, whether result or error. The answer's pieces come by iteration, or are handed
    to whoever waits for the whole of it.
    """

    __slots__ = ("_take", "closed")

    def __init__(self, peer: Peer, frame: pb.Frame) -> None:
        super().__init__(peer)
        self.closed: asyncio.Future[pb.Frame] = asyncio.get_running_loop().create_future()
        self._take: Callable[[pb.Frame], None] | None = None
        self.number = peer.open(frame, self._on_frame)

    def _on_frame(self, frame: pb.Frame) -> None:
        kind = frame.kind
        if kind == pb.CLOSE:
            self._finish()
            if not self.closed.done():
                self.closed.set_result(frame)
        elif kind == pb.DATA:
            if self._take is None:
                self._receiver.put(frame)
            else:
                self._hand_over(frame)
        elif kind == pb.WINDOW:
            self._sender.grant(frame.credit)

    def _hand_over(self, frame: pb.Frame) -> None:
        assert self._take is not None  # the caller looked
        try:
            self._take(frame)
        except SwitchboardError as error:
            self._give_up(error.error)
            return
        self._receiver.consume(frame)

    async def send(self, data: bytes, *, end: bool = False) -> None:
        """Send one more piece of the request; waits for credit."""
        await self._sender.send(data, end=end)

    def half_close(self) -> None:
        """Say that the request is complete."""
        if not self.closed.done():
            self._peer.send(pb.Frame(kind=pb.HALF_CLOSE, call=self.number))

    def cancel(self, why: ErrorValue = GAVE_UP) -> None:
        """Give the call up: the other end is told, `closed` resolves with `why`. Safe at any time."""
        closed = self.closed
        # Whoever awaited it and was cancelled has cancelled it, too; the other end still has to hear of that
        if not closed.done() or (closed.cancelled() and self.number in self._peer.calls):
            self._give_up(why)

    def _give_up(self, error: ErrorValue) -> None:
        self._peer.send(pb.Frame(kind=pb.CANCEL, call=self.number))
        self._on_frame(close_with(self.number, error))

    async def pieces(self) -> AsyncGenerator[pb.Frame, None]:
        """The answer's DATA frames; ends with success, raises SwitchboardError otherwise. Leaving early cancels."""
        try:
            while (frame := await self._receiver.next()) is not None:
                yield frame
            raise_for(await self.closed)
        finally:
            self.cancel()

    async def gather(self, take: Callable[[pb.Frame], None]) -> pb.Frame:
        """Have `take` handed each DATA frame as it comes; returns the CLOSE. Raises SwitchboardError.

        What `take` raises ends the call: SwitchboardError only.
        """
        self._take = take
        if self._receiving is not None:
            for frame in self._receiving.drain():
                take(frame)
                self._receiving.consume(frame)
        close = await self.closed
        raise_for(close)
        return close

    async def result(self) -> pb.Frame:
        """The whole answer as one CLOSE frame whose data is complete. Raises SwitchboardError."""
        parts: list[bytes] = []
        close = await self.gather(lambda frame: parts.append(frame.data))
        if parts:
            close.data = b"".join([*parts, close.data])
        return close


def raise_for(close: pb.Frame) -> None:
    """Raise the error of a CLOSE, if it has one."""
    if close.HasField("error"):
        raise SwitchboardError(ErrorValue.from_wire(close.error))


async def call_unary(peer: Peer, open_: pb.Open, payload: Payload) -> pb.Frame:
    """Make one call with one payload and one answer; returns the CLOSE with the answer's whole data.

    Raises SwitchboardError. Cancelling the task cancels the call.
    """
    call = OutgoingCall(peer, new_open(open_, payload, end=True))
    try:
        if len(payload.data) > MAX_DATA_BYTES:
            await call.send(payload.data[MAX_DATA_BYTES:], end=True)
        return await call.result()
    finally:
        call.cancel()


class IncomingCall(_CallEnd):
    """One call that the other end opened. Exactly one of `close` and `fail` ends it."""

    __slots__ = ("_on_cancel", "cancelled", "first")

    def __init__(self, peer: Peer, frame: pb.Frame, on_cancel: Callable[[], None] | None = None) -> None:
        super().__init__(peer, is_whole=frame.end)
        self.first = frame
        self.number = number = frame.call
        self.cancelled = False
        self._on_cancel = on_cancel
        peer.accept(number, self._on_frame)

    def _on_frame(self, frame: pb.Frame) -> None:
        kind = frame.kind
        if kind == pb.DATA:
            self._receiver.put(frame)
            if frame.end:
                self._receiver.end()
        elif kind == pb.WINDOW:
            self._sender.grant(frame.credit)
        elif kind == pb.HALF_CLOSE:
            self._receiver.end()
        elif kind == pb.CANCEL:
            self._cancel()

    def _cancel(self) -> None:
        self.cancelled = True
        self._finish()
        if self._on_cancel is not None:
            self._on_cancel()

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """The request's payload in pieces, up to its end. Ends early when the caller cancels: see `cancelled`."""
        yield self.first.data
        while (frame := await self._receiver.next()) is not None:
            yield frame.data

    async def body(self, limit: int) -> bytes:
        """The whole payload. Raises SwitchboardError PAYLOAD_TOO_LARGE beyond `limit` bytes."""
        if self.first.end:
            data: bytes = self.first.data
            if len(data) > limit:
                raise failure(pb.PAYLOAD_TOO_LARGE, f"the payload is over {limit} bytes")
            return data
        parts: list[bytes] = []
        size = 0
        async for piece in self.pieces():
            size += len(piece)
            if size > limit:
                raise failure(pb.PAYLOAD_TOO_LARGE, f"the payload is over {limit} bytes")
            parts.append(piece)
        return b"".join(parts)

    async def send(self, data: bytes, content_type: str = "") -> None:
        """Send one piece of the answer; waits for credit. Does nothing once the call is over."""
        await self._sender.send(data, content_type=content_type)

    async def close(self, payload: Payload, processing_us: int = 0, headers: Mapping[str, str] | None = None) -> None:
        """End the call with a result; what does not fit in one frame goes ahead as DATA."""
        data = payload.data
        if len(data) > MAX_DATA_BYTES:
            # In full frames: a full one says that more of its piece follows
            ahead = (len(data) - 1) // MAX_DATA_BYTES * MAX_DATA_BYTES
            await self._sender.send(data[:ahead], content_type=payload.content_type)
            payload = payload._replace(data=data[ahead:])
        if self.over:
            return
        answer = close_of(self.number, payload, processing_us, headers)
        self._finish()
        self._peer.send(answer)

    def fail(self, error: ErrorValue) -> None:
        """End the call with an error. Does nothing once the call is over."""
        if self.over:
            return
        self._finish()
        self._peer.send(close_with(self.number, error))
