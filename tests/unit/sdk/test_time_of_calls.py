"""The time of a call is counted once, whatever it is spent on; what its pieces raise is raised by it."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from switchboard import DeadlineExceeded
from switchboard.caller import Caller
from switchboard.options import CallOptions, Target, fill_open
from switchboard_wire.deadlines import Deadlines
from switchboard_wire.peer import Peer
from switchboard_wire.v1 import frames_pb2 as pb


class Nothing:
    """Events of a peer whose other end never says anything."""

    def on_open(self, peer: Peer, frame: pb.Frame) -> None:
        """None comes."""

    def on_control(self, peer: Peer, frame: pb.Frame) -> None:
        """None comes."""

    def on_lost(self, peer: Peer) -> None:
        """It never is."""


class LateUplink:
    """A session that is there after a while."""

    def __init__(self, after_s: float) -> None:
        self.peer: Peer | None = None if after_s else Peer(Nothing(), dialled=True)
        self.there = Peer(Nothing(), dialled=True) if self.peer is None else self.peer
        self._after_s = after_s

    async def wait(self, timeout_s: float | None = None) -> Peer:
        await asyncio.sleep(self._after_s)
        return self.there


class Calls(Caller):
    """Calls that say no more than they must."""

    def _new_frame(self, target: Target, content_type: str, options: CallOptions) -> pb.Frame:
        frame = pb.Frame(kind=pb.OPEN, end=True, content_type=content_type)
        fill_open(frame.open, target, options)
        return frame


async def call(calls: Calls, how: str, **options: Any) -> None:
    if how == "stream":
        async for _ in calls.stream("a", "x", **options):
            raise AssertionError("nobody answers")
    else:
        await calls.request("a", "x" if how == "request" else "x" * 3_000_000, **options)


HOWS = ["request", "large request", "stream"]


@pytest.mark.parametrize("how", HOWS)
async def test_the_wait_for_a_session_counts(how: str) -> None:
    uplink = LateUplink(0.2)
    with pytest.raises(DeadlineExceeded):
        await call(Calls(uplink, Deadlines()), how, timeout_s=1)
    [opened] = [frame.open for frame in uplink.there.outbox.drain() if frame.kind == pb.OPEN]
    assert 0 < opened.deadline_ms <= 800


@pytest.mark.parametrize("how", HOWS)
async def test_a_session_that_comes_too_late_is_given_nothing(how: str) -> None:
    uplink = LateUplink(0.05)
    with pytest.raises(DeadlineExceeded) as caught:
        await call(Calls(uplink, Deadlines()), how, timeout_s=0.02)
    assert caught.value.error.delivered == pb.DELIVERED_NO
    assert not uplink.there.outbox


@pytest.mark.parametrize("how", HOWS)
async def test_a_call_that_nobody_answers_in_time_has_exceeded_its_deadline(how: str) -> None:
    with pytest.raises(DeadlineExceeded) as caught:
        await call(Calls(LateUplink(0), Deadlines()), how, timeout_s=0.05)
    assert caught.value.error.delivered == pb.DELIVERED_MAYBE


async def good_then_bad(first: int) -> AsyncIterator[Any]:
    for _ in range(first):
        yield "piece"
        await asyncio.sleep(0)
    raise ValueError("the caller's own mistake")


async def not_sendable() -> AsyncIterator[Any]:
    yield "piece"
    yield object()


@pytest.mark.parametrize("how", ["request", "stream"])
@pytest.mark.parametrize("first", [0, 1, 3])
async def test_what_an_iterator_of_pieces_raises_reaches_who_gave_it(how: str, first: int) -> None:
    calls, payload = Calls(LateUplink(0), Deadlines()), good_then_bad(first)
    calling = calls.request("a", payload) if how == "request" else anext(calls.stream("a", payload))
    with pytest.raises(ValueError, match="own mistake"):
        await calling


async def test_a_piece_that_cannot_be_sent_is_told() -> None:
    with pytest.raises(TypeError):
        await Calls(LateUplink(0), Deadlines()).request("a", not_sendable())
