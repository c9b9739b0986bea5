"""A call that takes long keeps its own frame, and not the batch in which it came."""

import asyncio
import random

import pytest
from allocated import allocated_bytes
from gateway_memory import FakeInstance, make_core, opening, turns

from switchboard_gateway import routed_call
from switchboard_gateway.clients import Client
from switchboard_wire.peer import Peer
from switchboard_wire.v1 import frames_pb2 as pb

BATCHES, CALLS, PAYLOAD = 40, 64, 3200
SLOW = 7  # of the calls of each batch, the one that is not answered


def answer_most(peer: Peer, frame: pb.Frame) -> None:
    """All but those that begin with `slow`."""
    if not frame.data.startswith(b"slow"):
        peer.send(pb.Frame(kind=pb.CLOSE, call=frame.call))


def batch(number: int, rng: random.Random) -> bytes:
    """Calls of which one takes long; about 209 KB."""
    frames = []
    for index in range(CALLS):
        data = (b"slow" if index == SLOW else b"fast") + rng.randbytes(PAYLOAD)
        call = 2 * (number * CALLS + index) + 1
        frames.append(pb.Frame(kind=pb.OPEN, call=call, open=opening(deadline_ms=3_600_000), data=data, end=True))
    return pb.Batch(frames=frames).SerializeToString()


async def test_calls_that_take_long_keep_no_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routed_call, "LONG_S", 0.1)
    core = make_core()
    instance = FakeInstance(core, "one", answer_most)
    await turns()
    client = Peer(Client(core, "default"), dialled=False)
    rng = random.Random(1)
    before = allocated_bytes()
    for number in range(BATCHES):
        client.receive(batch(number, rng))
        await turns(4)
        instance.opened.clear()
        client.outbox.drain()
    assert core.active == BATCHES
    async with asyncio.timeout(60):
        while allocated_bytes() - before > BATCHES * 3 * PAYLOAD:  # 8.4 MB with their batches
            await asyncio.sleep(0.02)
    assert core.active == BATCHES


async def test_a_call_that_takes_long_still_ends_at_its_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routed_call, "LONG_S", 0.05)
    core = make_core()
    FakeInstance(core, "one", lambda peer, frame: None)
    await turns()
    client = Peer(Client(core, "default"), dialled=False)
    frame = pb.Frame(kind=pb.OPEN, call=1, open=opening(deadline_ms=200), data=b"x", end=True)
    client.receive(pb.Batch(frames=[frame]).SerializeToString())
    started = core.now()
    async with asyncio.timeout(60):
        while not len(client.outbox):
            await asyncio.sleep(0.01)
    (close,) = client.outbox.drain()
    assert (close.kind, close.error.code) == (pb.CLOSE, pb.DEADLINE_EXCEEDED)
    assert core.now() - started >= 0.2
    assert core.active == 0
