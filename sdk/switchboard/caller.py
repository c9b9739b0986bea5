"""Calls over whatever peer there is: the core that the client and a handler's context share.

The path of one unary call is kept short: one frame copied from a template, one future, no timer of its own.
"""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable
from functools import partial
from typing import Any, Protocol, Unpack

from switchboard.answers import Answer, AnswerStream, PieceReader, join_pieces
from switchboard.content import encode
from switchboard.options import CallOptions, Target, deadline_ms
from switchboard.sending import first_piece, raise_of, send_rest
from switchboard_wire.calls import OutgoingCall, Payload
from switchboard_wire.credit import Consumed
from switchboard_wire.deadlines import Deadlines
from switchboard_wire.errors import ErrorValue, SwitchboardError, failure
from switchboard_wire.limits import MAX_DATA_BYTES
from switchboard_wire.peer import Peer
from switchboard_wire.v1 import frames_pb2 as pb

# The gateway's own answer to a missed deadline says more than ours, so it has this much time to come first
DEADLINE_GRACE_S = 0.1

Read = Callable[[pb.Frame], list[Any]]  # the values that are complete with a DATA or the CLOSE


class Uplink(Protocol):
    """Where calls go."""

    peer: Peer | None

    async def wait(self, timeout_s: float | None = None) -> Peer:
        """The living peer, as soon as there is one."""


class Caller:
    """Makes calls. Subclasses say what a new OPEN holds, and give each message its id."""

    __slots__ = ("_deadlines", "_uplink")

    def __init__(self, uplink: Uplink, deadlines: Deadlines) -> None:
        self._uplink = uplink
        self._deadlines = deadlines

    def _new_frame(self, target: Target, content_type: str, options: CallOptions) -> pb.Frame:
        """A fresh OPEN with end=True, without data."""
        raise NotImplementedError

    async def request(self, target: Target, payload: object = None, **options: Unpack[CallOptions]) -> Answer:
        """Send one message and wait for its answer.

        target: `type`, `type/key` or `capability:NAME`. payload: str, bytes, anything with a JSON form, an Answer, or
        an async iterable of pieces. Raises a subclass of SwitchboardError. Cancelling the task cancels the call.
        """
        if isinstance(payload, AsyncIterable):
            return await self._request_pieces(target, payload, options)
        content = payload.to_payload() if isinstance(payload, Answer) else encode(payload)
        data = content.data
        frame = self._new_frame(target, content.content_type, options)
        if content.data_type:
            frame.data_type = content.data_type
        message_id = frame.open.message_id
        if len(data) <= MAX_DATA_BYTES:
            frame.data = data
            return Answer(await self._exchange(frame, options.get("timeout_s")), message_id)
        frame.data = data[:MAX_DATA_BYTES]
        frame.end = False
        return Answer(await self._exchange(frame, options.get("timeout_s"), data[MAX_DATA_BYTES:]), message_id)

    async def send(self, target: Target, payload: object = None, **options: Unpack[CallOptions]) -> None:
        """Send one message whose answer is not wanted; returns once the handler has finished with it.

        With ack="accepted", returns once an instance has taken it (best effort). Raises as `request` does.
        """
        content = payload.to_payload() if isinstance(payload, Answer) else encode(payload)
        frame = self._new_frame(target, content.content_type, options)
        frame.open.reply = pb.REPLY_NONE
        rest = content.data[MAX_DATA_BYTES:]
        frame.data = content.data[:MAX_DATA_BYTES]
        frame.end = not rest
        await self._exchange(frame, options.get("timeout_s"), rest)

    def stream(self, target: Target, payload: object = None, **options: Unpack[CallOptions]) -> AnswerStream:
        """Send one message and read its answer in pieces: `async for piece in client.stream("writer", "a poem")`.

        payload: as for `request`. A piece is a str, bytes, or a JSON value. Errors are raised by the iteration.
        """
        return _open_stream(self._pieces, target, payload, options, PieceReader().read)

    async def _exchange(self, frame: pb.Frame, timeout_s: float | None, rest: bytes = b"") -> pb.Frame:
        """Send an OPEN, wait for its CLOSE; again on the next stream when the first was lost and that is safe."""
        until = _end_of(timeout_s)
        while True:
            peer = self._uplink.peer
            if peer is None or peer.lost:
                peer = await self._uplink.wait(timeout_s)
                timeout_s = _set_deadline(frame, until)
            try:
                return await self._attempt(peer, frame, timeout_s, rest)
            except SwitchboardError as error:
                if not peer.lost or not _may_repeat(error.error, frame):
                    raise
            timeout_s = _set_deadline(frame, until)

    async def _attempt(self, peer: Peer, frame: pb.Frame, timeout_s: float | None, rest: bytes) -> pb.Frame:
        if rest:
            return await self._attempt_large(peer, frame, timeout_s, rest)
        future: asyncio.Future[pb.Frame] = asyncio.get_running_loop().create_future()
        call = _UnaryCall(peer, future)
        call.number = peer.open(frame, call.on_frame)
        if timeout_s is None:
            try:
                return await future
            except asyncio.CancelledError:
                call.abandon()
                raise
        token = self._deadlines.add(timeout_s + DEADLINE_GRACE_S, call.expire)
        try:
            return await future
        except asyncio.CancelledError:
            call.abandon()
            raise
        finally:
            self._deadlines.remove(token)

    async def _attempt_large(self, peer: Peer, frame: pb.Frame, timeout_s: float | None, rest: bytes) -> pb.Frame:
        call = OutgoingCall(peer, frame)
        try:
            async with asyncio.timeout(None if timeout_s is None else timeout_s + DEADLINE_GRACE_S):
                await call.send(rest, end=True)
                return await _collect(call)
        except TimeoutError:
            raise _deadline_exceeded(pb.DELIVERED_MAYBE) from None
        finally:
            call.cancel()

    async def _request_pieces(self, target: Target, payload: AsyncIterable[object], options: CallOptions) -> Answer:
        frames: list[pb.Frame] = []

        def keep(frame: pb.Frame) -> list[Any]:
            frames.append(frame)
            return []

        stream = _open_stream(self._pieces, target, payload, options, keep)
        async for _ in stream:
            raise AssertionError("all frames are kept")
        assert stream.answer is not None
        *pieces, close = frames
        return Answer(join_pieces(pieces, close) if pieces else close, stream.answer.message_id)

    async def _pieces(
        self, target: Target, payload: object, options: CallOptions, read: Read, ended: Callable[[Answer], None]
    ) -> AsyncIterator[Any]:
        source = aiter(payload) if isinstance(payload, AsyncIterable) else None
        content = await first_piece(source) if source else _to_payload(payload)
        frame = self._new_frame(target, content.content_type, options)
        message_id = frame.open.message_id
        frame.data = content.data[:MAX_DATA_BYTES]
        rest = content.data[MAX_DATA_BYTES:]
        frame.end = not rest and source is None
        timeout_s = options.get("timeout_s")
        peer = self._uplink.peer
        if peer is None or peer.lost:
            until = _end_of(timeout_s)
            peer = await self._uplink.wait(timeout_s)
            timeout_s = _set_deadline(frame, until)
        call = OutgoingCall(peer, frame)
        expire = partial(call.cancel, _deadline_exceeded(pb.DELIVERED_MAYBE).error)
        token = None if timeout_s is None else self._deadlines.add(timeout_s + DEADLINE_GRACE_S, expire)
        sending = asyncio.create_task(send_rest(call, rest, source)) if rest or source else None
        try:
            async for piece in call.pieces():
                for value in read(piece):
                    yield value
            close = await call.closed
            for value in read(close):
                yield value
            ended(Answer(close, message_id))
        except SwitchboardError:
            raise_of(sending)
            raise
        finally:
            call.cancel()
            if token is not None:
                self._deadlines.remove(token)
            if sending is not None:
                sending.cancel()
                await asyncio.gather(sending, return_exceptions=True)


class _UnaryCall:
    """Frames of one unary call; what a streaming handler answers is collected."""

    __slots__ = ("consumed", "future", "number", "peer", "pieces")

    def __init__(self, peer: Peer, future: asyncio.Future[pb.Frame]) -> None:
        self.peer = peer
        self.future = future
        self.number = 0
        self.pieces: list[pb.Frame] | None = None
        self.consumed: Consumed | None = None

    def on_frame(self, frame: pb.Frame) -> None:
        kind = frame.kind
        if kind == pb.CLOSE:
            self.peer.forget(frame.call)
            if self.future.done():
                return
            if frame.HasField("error"):
                self.future.set_exception(SwitchboardError(ErrorValue.from_wire(frame.error)))
            else:
                self.future.set_result(join_pieces(self.pieces, frame) if self.pieces else frame)
        elif kind == pb.DATA:
            self._collect(frame)

    def _collect(self, frame: pb.Frame) -> None:
        if self.pieces is None or self.consumed is None:
            self.pieces, self.consumed = [], Consumed()
        self.pieces.append(frame)
        credit = self.consumed.add(len(frame.data))
        if credit:
            self.peer.send(pb.Frame(kind=pb.WINDOW, call=self.number, credit=credit))

    def abandon(self) -> None:
        self.peer.forget(self.number)
        self.peer.send(pb.Frame(kind=pb.CANCEL, call=self.number))

    def expire(self) -> None:
        if not self.future.done():
            self.abandon()
            self.future.set_exception(_deadline_exceeded(pb.DELIVERED_MAYBE))


def _open_stream(
    pieces: Callable[[Target, object, CallOptions, Read, Callable[[Answer], None]], AsyncIterator[Any]],
    target: Target,
    payload: object,
    options: CallOptions,
    read: Read,
) -> AnswerStream:
    def ended(answer: Answer) -> None:
        stream.answer = answer

    stream = AnswerStream(pieces(target, payload, options, read, ended))
    return stream


def _to_payload(payload: object) -> Payload:
    return payload.to_payload() if isinstance(payload, Answer) else encode(payload)


async def _collect(call: OutgoingCall) -> pb.Frame:
    pieces = [frame async for frame in call.pieces()]
    close = await call.closed
    return join_pieces(pieces, close) if pieces else close


def _may_repeat(error: ErrorValue, frame: pb.Frame) -> bool:
    if error.code != pb.NODE_UNAVAILABLE:
        return False
    return error.delivered == pb.DELIVERED_NO or bool(frame.open.idempotent)


def _end_of(timeout_s: float | None) -> float | None:
    return None if timeout_s is None else asyncio.get_running_loop().time() + timeout_s


def _set_deadline(frame: pb.Frame, until: float | None) -> float | None:
    """Give an OPEN that waited what is left of its time, and return that. Raises DEADLINE_EXCEEDED when none is."""
    if until is None:
        return None
    left_s = until - asyncio.get_running_loop().time()
    if left_s <= 0:
        raise _deadline_exceeded(pb.DELIVERED_NO)
    frame.open.deadline_ms = deadline_ms(left_s)
    return left_s


def _deadline_exceeded(delivered: int) -> SwitchboardError:
    return failure(pb.DEADLINE_EXCEEDED, "no answer within timeout_s", delivered=delivered)
