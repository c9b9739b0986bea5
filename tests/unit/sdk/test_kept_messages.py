"""A message that a handler works on for long keeps its own frame, and not the batch in which it came."""

import asyncio
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from allocated import allocated_bytes
from lone_host import LoneSidecar, NoUplink

from switchboard import Context
from switchboard.host import serving
from switchboard.host.context import Surroundings
from switchboard.host.hosted import HostedAgent
from switchboard.host.loading import make_handler
from switchboard.host.serving import Serving
from switchboard_wire.deadlines import Deadlines
from switchboard_wire.peer import Peer
from switchboard_wire.v1 import frames_pb2 as pb

BATCHES, CALLS, PAYLOAD = 40, 64, 3200
SLOW = 7  # of the messages of each batch, the one on which the handler works for long

Handler = Callable[..., Any]


def batch(number: int, rng: random.Random) -> bytes:
    """Messages of which one takes long; about 209 KB."""
    frames = []
    for index in range(CALLS):
        data = (b"slow" if index == SLOW else b"fast") + rng.randbytes(PAYLOAD).hex().encode()[:PAYLOAD]
        opened = pb.Open(agent="a", message_id=f"{number}-{index}")
        frames.append(pb.Frame(kind=pb.OPEN, call=2 * (number * CALLS + index) + 2, open=opened, data=data, end=True))
    return pb.Batch(frames=frames).SerializeToString()


def make_handlers(go_on: asyncio.Event) -> dict[str, Handler]:
    async def plain(data: bytes) -> bytes:
        if data.startswith(b"slow"):
            await go_on.wait()
        return b""

    async def with_context(data: bytes, ctx: Context) -> bytes:
        await plain(data)
        return ctx.message_id.encode()

    async def streaming(data: bytes, ctx: Context) -> Any:
        yield await with_context(data, ctx)

    return {"plain": plain, "with context": with_context, "streaming": streaming}


@pytest.mark.parametrize("kind", ["plain", "with context", "streaming"])
async def test_messages_that_take_long_keep_no_batches(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "LONG_S", 0.1)
    go_on = asyncio.Event()
    handler = make_handlers(go_on)[kind]
    around = Surroundings(NoUplink(), Deadlines(), "a", "a", {})
    with ThreadPoolExecutor() as pool:
        served = Serving()
        served.set_agents({"a": HostedAgent(make_handler("app:a", handler, {}, Path()), around, pool)})
        peer = Peer(LoneSidecar(served), dialled=True)
        rng, answered = random.Random(1), 0
        before = allocated_bytes()
        for number in range(BATCHES):
            peer.receive(batch(number, rng))
            async with asyncio.timeout(60):
                while len(served.tasks) > number + 1:
                    await asyncio.sleep(0)
            answered += sum(frame.kind == pb.CLOSE for frame in peer.outbox.drain())
        assert (len(served.tasks), answered) == (BATCHES, BATCHES * (CALLS - 1))
        async with asyncio.timeout(60):
            while allocated_bytes() - before > BATCHES * 4 * PAYLOAD:  # 8.4 MB with their batches
                await asyncio.sleep(0.02)
        assert len(served.tasks) == BATCHES
        go_on.set()
        await asyncio.wait(served.tasks)
    closes = [frame for frame in peer.outbox.drain() if frame.kind == pb.CLOSE]
    assert len(closes) == BATCHES
    assert not any(close.HasField("error") for close in closes)
