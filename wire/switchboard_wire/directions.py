"""The two directions of one call at one of its ends: what it sends, within its credit, and what it receives."""

import asyncio
from collections import deque

from switchboard_wire.credit import Consumed, CreditLine
from switchboard_wire.limits import MAX_DATA_BYTES
from switchboard_wire.peer import Peer
from switchboard_wire.v1 import frames_pb2 as pb


class Sender:
    """The sending direction: DATA within the credit."""

    __slots__ = ("_credit", "_granted", "_number", "_peer", "over")

    def __init__(self, peer: Peer, number: int) -> None:
        self._peer = peer
        self._number = number
        self._credit = CreditLine()
        self._granted = asyncio.Event()
        self.over = False  # the call ended: nothing more may be sent

    def grant(self, size: int) -> None:
        self._credit.grant(size)
        self._granted.set()

    def stop(self) -> None:
        self.over = True
        self._granted.set()

    async def send(self, data: bytes, *, end: bool = False, content_type: str = "") -> None:
        view = memoryview(data)
        for start in range(0, max(len(data), 1), MAX_DATA_BYTES):
            piece = bytes(view[start : start + MAX_DATA_BYTES])
            await self._wait_for_credit()
            if self.over:
                return
            self._credit.spend(len(piece))
            last = end and start + MAX_DATA_BYTES >= len(data)
            self._peer.send(pb.Frame(kind=pb.DATA, call=self._number, data=piece, end=last, content_type=content_type))

    async def _wait_for_credit(self) -> None:
        while self._credit.left <= 0 and not self.over:
            self._granted.clear()
            await self._granted.wait()


class Receiver:
    """The receiving direction: DATA in order, credit granted as it is consumed."""

    __slots__ = ("_arrived", "_consumed", "_number", "_peer", "_pieces", "ended")

    def __init__(self, peer: Peer, number: int) -> None:
        self._peer = peer
        self._number = number
        self._pieces: deque[pb.Frame] = deque()
        self._arrived = asyncio.Event()
        self._consumed = Consumed()
        self.ended = False

    def put(self, frame: pb.Frame) -> None:
        self._pieces.append(frame)
        self._arrived.set()

    def end(self) -> None:
        self.ended = True
        self._arrived.set()

    async def next(self) -> pb.Frame | None:
        """The next DATA, or None at the end."""
        while not self._pieces:
            if self.ended:
                return None
            self._arrived.clear()
            await self._arrived.wait()
        frame = self._pieces.popleft()
        self.consume(frame)
        return frame

    def drain(self) -> list[pb.Frame]:
        """Take what has arrived, without granting credit for it."""
        pieces = list(self._pieces)
        self._pieces.clear()
        return pieces

    def consume(self, frame: pb.Frame) -> None:
        """The application has taken a DATA: grant credit when enough was taken."""
        credit = self._consumed.add(len(frame.data))
        if credit and not self.ended:
            self._peer.send(pb.Frame(kind=pb.WINDOW, call=self._number, credit=credit))
