"""A handler that goes on although its call was cancelled leaves nothing behind."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from lone_host import LoneSidecar, NoUplink

from switchboard.host.context import Surroundings
from switchboard.host.hosted import HostedAgent
from switchboard.host.loading import make_handler
from switchboard.host.serving import Serving
from switchboard_wire.deadlines import Deadlines
from switchboard_wire.limits import INITIAL_CREDIT_BYTES, MAX_DATA_BYTES
from switchboard_wire.peer import Peer
from switchboard_wire.v1 import frames_pb2 as pb


async def test_a_large_answer_to_a_call_that_is_over_waits_for_no_credit() -> None:
    begun = asyncio.Event()

    async def stubborn(data: bytes) -> bytes:
        try:
            begun.set()
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            pass
        return b"x" * (INITIAL_CREDIT_BYTES + 2 * MAX_DATA_BYTES)

    with ThreadPoolExecutor() as pool:
        served = Serving()
        around = Surroundings(NoUplink(), Deadlines(), "a", "a", {})
        served.set_agents({"a": HostedAgent(make_handler("app:a", stubborn, {}, Path()), around, pool)})
        peer = Peer(LoneSidecar(served), dialled=True)
        opened = pb.Frame(kind=pb.OPEN, call=2, open=pb.Open(agent="a", message_id="m"), data=b"x", end=True)
        peer.receive(pb.Batch(frames=[opened]).SerializeToString())
        await begun.wait()
        peer.receive(pb.Batch(frames=[pb.Frame(kind=pb.CANCEL, call=2)]).SerializeToString())
        _, waiting = await asyncio.wait(served.tasks, timeout=5)
    assert not waiting
    assert not peer.calls
    assert not peer.outbox
