"""One end of a stream: it numbers calls, hands their frames to their owners, and queues what is to be written.

Every hop of the product is built of it, whoever dialled: a client's session, a link, the host connection; and, without
a stream in between, the local pairs by which REST and HTTP hosts join the same core.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

from google.protobuf.message import DecodeError

from switchboard_wire.errors import ErrorValue, close_with
from switchboard_wire.limits import MAX_MESSAGE_BYTES, MAX_OUTBOX_BYTES, MAX_UINT32
from switchboard_wire.outbox import Outbox
from switchboard_wire.shedding import Instead, refuse, shed
from switchboard_wire.v1 import frames_pb2 as pb

log = logging.getLogger("switchboard.sockets")

# Called with each frame of one call. When the stream is lost first, the opener is handed a CLOSE with NODE_UNAVAILABLE
# and the other end a CANCEL, so nobody has to know about streams.
FrameHandler = Callable[[pb.Frame], None]


# Counting bytes costs more than queueing a frame, so it is done for many at a time
MEASURED_EVERY = 64


class ProtocolError(Exception):
    """The other end broke the rules of the stream; the stream must end."""


class PeerEvents(Protocol):
    """What the owner of a peer is told."""

    def on_open(self, peer: "Peer", frame: pb.Frame) -> None:
        """The other end opened a call: `peer.accept` it or close it."""

    def on_control(self, peer: "Peer", frame: pb.Frame) -> None:
        """A frame of no call: HELLO, AUTH, PEERS, GOAWAY, ASSIGN, HOSTED; PING with the other end's load."""

    def on_lost(self, peer: "Peer") -> None:
        """The stream is gone; its calls are told next, so that what they do about it no longer counts on this peer."""


class Peer:
    """One end of a stream of frames.

    dialled: whether this end dialled; it opens odd calls, the other end even ones. bound: of the bytes that wait to be
    written; None: none. Over it, as the other end does not read, nothing of size is queued: see shedding.py.
    """

    __slots__ = (
        "_dialled",
        "_is_shut",
        "_next",
        "_wake",
        "bound",
        "calls",
        "events",
        "heard",
        "label",
        "lost",
        "outbox",
        "shed",
    )

    def __init__(self, events: PeerEvents, *, dialled: bool, label: str = "") -> None:
        self.events = events
        self.label = label
        self.calls: dict[int, FrameHandler] = {}
        self.outbox = Outbox(self._refuse)
        self.heard = True
        self.lost = False
        self.bound: int | None = MAX_OUTBOX_BYTES
        self.shed = 0  # frames that were not queued
        self._is_shut = False  # lost, or over the bound: one flag, as every frame asks for it
        self._dialled = dialled
        self._next = 1 if dialled else 2
        self._wake = asyncio.Event()

    def open(self, frame: pb.Frame, handler: FrameHandler) -> int:
        """Number and send an OPEN; `handler` gets the frames that come back, up to CLOSE. Returns the number."""
        number = self._next
        if number > MAX_UINT32:  # a stream may live for months
            number = 1 if self._dialled else 2
        while number in self.calls:
            number += 2
        self._next = number + 2
        frame.call = number
        if self.lost:
            gone = ErrorValue(pb.NODE_UNAVAILABLE, f"{self.label or 'the other end'} is gone")
            asyncio.get_running_loop().call_soon(handler, close_with(number, gone))
            return number
        self.calls[number] = handler
        self.send(frame)
        return number

    def accept(self, number: int, handler: FrameHandler) -> None:
        """Take a call that the other end opened; `handler` gets its later frames, up to CANCEL."""
        self.calls[number] = handler

    def forget(self, number: int) -> None:
        """The call is over; frames that still come for it are dropped."""
        self.calls.pop(number, None)

    def send(self, frame: pb.Frame) -> None:
        """Queue one frame. Never blocks; on a lost peer it does nothing (its calls were told)."""
        if self._is_shut and not self._passes(frame):
            return
        outbox = self.outbox
        waiting = len(outbox)
        if not waiting:
            self._wake.set()
        elif not waiting % MEASURED_EVERY:
            self._measure()
        outbox.append(frame)

    def _passes(self, frame: pb.Frame) -> bool:
        """Whether a frame is queued although the peer is shut; when not, its call is told."""
        if self.lost:
            return False
        instead = shed(frame, self.label, ours=bool(frame.call & 1) == self._dialled)
        if instead is None:
            return True
        self.shed += 1
        handler = self.calls.get(frame.call)
        if frame.kind != pb.CLOSE:
            if handler is None:  # a further piece of a call that was ended so
                return False
            self.forget(frame.call)
        if instead.written is not None:
            self.outbox.append(instead.written)
        self._tell(instead, handler)
        return False

    def _tell(self, instead: Instead, handler: FrameHandler | None) -> None:
        if instead.told is not None and handler is not None:
            asyncio.get_running_loop().call_soon(handler, instead.told)

    def _refuse(self, frame: pb.Frame) -> pb.Frame | None:
        """What goes in the place of a frame that no other end would read; its call is told."""
        instead = refuse(frame, ours=bool(frame.call & 1) == self._dialled)
        if instead is None:
            kind = pb.Kind.Name(frame.kind)
            log.error("%s: not sent: a %s of over %d bytes", self.label or "a peer", kind, MAX_MESSAGE_BYTES)
            return None
        handler = self.calls.pop(frame.call, None)
        self._tell(instead, handler)
        return instead.written

    def _measure(self) -> None:
        """Shut the peer when too much waits; open it again when half of that is gone."""
        if self.bound is not None and not self.lost:
            limit = self.bound // 2 if self._is_shut else self.bound
            self._is_shut = self.outbox.measure() > limit

    async def next_batch(self) -> bytes:
        """Wait until something is queued and take the next batch."""
        while not self.outbox:
            self._wake.clear()
            await self._wake.wait()
        batch = self.outbox.take()
        if self._is_shut:
            self._measure()
        return batch

    def receive(self, data: bytes) -> None:
        """Hand the frames of one batch to their owners. Raises ProtocolError."""
        self.heard = True
        try:
            frames = pb.Batch.FromString(data).frames
        except DecodeError as error:
            raise ProtocolError(f"not a batch of frames: {error}") from error
        for frame in frames:
            self.dispatch(frame)

    def dispatch(self, frame: pb.Frame) -> None:
        number = frame.call
        handler = self.calls.get(number)
        if handler is not None:
            handler(frame)
        elif frame.kind == pb.OPEN:
            if number == 0 or bool(number & 1) == self._dialled:
                raise ProtocolError(f"call {number} has a number of this end's")
            self.events.on_open(self, frame)
        elif number == 0:
            self.events.on_control(self, frame)
        # else: a late frame of a call that is over

    def lose(self, reason: str) -> None:
        """The stream is gone: tell the owner, then every call. A call whose OPEN was never written is delivered=NO."""
        if self.lost:
            return
        self.lost = self._is_shut = True
        unwritten = {frame.call for frame in self.outbox.drain() if frame.kind == pb.OPEN}
        calls, self.calls = self.calls, {}
        self.events.on_lost(self)
        for number, handler in calls.items():
            if bool(number & 1) == self._dialled:
                delivered = pb.DELIVERED_NO if number in unwritten else pb.DELIVERED_MAYBE
                handler(close_with(number, ErrorValue(pb.NODE_UNAVAILABLE, reason, delivered=delivered)))
            else:
                handler(pb.Frame(kind=pb.CANCEL, call=number))


class LocalPeer(Peer):
    """A peer whose other end is in this process: frames change hands on the loop's next turn, unserialized."""

    __slots__ = ("_loop", "_other")

    def __init__(self, events: PeerEvents, *, dialled: bool, label: str = "") -> None:
        super().__init__(events, dialled=dialled, label=label)
        self._loop = asyncio.get_running_loop()
        self._other: LocalPeer | None = None

    def send(self, frame: pb.Frame) -> None:
        if self._other is not None and not self.lost:
            self._loop.call_soon(self._other.dispatch, frame)


def local_pair(near: PeerEvents, far: PeerEvents, label: str = "") -> tuple[LocalPeer, LocalPeer]:
    """Two peers joined without a stream: (the end that counts as having dialled, the other)."""
    dialled, answered = LocalPeer(near, dialled=True, label=label), LocalPeer(far, dialled=False, label=label)
    dialled._other, answered._other = answered, dialled
    return dialled, answered


def copy_frame(frame: pb.Frame) -> pb.Frame:
    """A copy to keep or to change: a frame that was received keeps the memory of the whole batch that it came in."""
    copied = pb.Frame()
    copied.CopyFrom(frame)
    return copied
