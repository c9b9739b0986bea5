"""What fails in a handler is told with the line of the author's code, on whatever way it came."""

import asyncio
import logging
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from lone_host import LoneSidecar, NoUplink

from switchboard.host.context import Surroundings
from switchboard.host.hosted import HostedAgent
from switchboard.host.loading import make_handler
from switchboard.host.serving import Serving
from switchboard_wire.deadlines import Deadlines
from switchboard_wire.peer import Peer
from switchboard_wire.v1 import frames_pb2 as pb


def fails() -> bytes:
    raise ValueError("the author's mistake")


async def in_the_loop(data: bytes) -> bytes:
    await asyncio.sleep(0)
    return fails()


def in_a_thread(data: bytes) -> bytes:
    return fails()


async def in_a_thread_of_its_own(data: bytes) -> bytes:
    return await asyncio.to_thread(fails)


async def in_pieces(data: bytes) -> Any:
    yield b"one"
    fails()


@pytest.mark.parametrize("handler", [in_the_loop, in_a_thread, in_a_thread_of_its_own, in_pieces])
async def test_a_failure_names_the_line_of_the_handler(
    handler: Callable[[bytes], Any], caplog: pytest.LogCaptureFixture
) -> None:
    with ThreadPoolExecutor() as pool:
        served = Serving()
        around = Surroundings(NoUplink(), Deadlines(), "a", "a", {})
        served.set_agents({"a": HostedAgent(make_handler("app:a", handler, {}, Path()), around, pool)})
        peer = Peer(LoneSidecar(served), dialled=True)
        opened = pb.Frame(kind=pb.OPEN, call=2, open=pb.Open(agent="a", message_id="m"), data=b"x", end=True)
        with caplog.at_level(logging.ERROR, "switchboard.host"):
            peer.receive(pb.Batch(frames=[opened]).SerializeToString())
            await asyncio.wait(served.tasks)
    [record] = caplog.records
    assert record.exc_info is not None
    lines = [frame.name for frame in traceback.extract_tb(record.exc_info[2])]
    assert lines[-1] == "fails"
    assert record.getMessage() == "handler failed"
