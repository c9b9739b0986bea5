"""A handler in a thread cannot be cancelled: what it holds in its agent is held until the thread has ended."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from lone_host import LoneSidecar, NoUplink

from switchboard import agent
from switchboard.host import deployment
from switchboard.host.context import Surroundings
from switchboard.host.deployment import Deployed, Deployment, HostSettings
from switchboard.host.hosted import HostedAgent
from switchboard.host.loading import make_handler
from switchboard.host.serving import Serving
from switchboard_wire.deadlines import Deadlines
from switchboard_wire.peer import Peer
from switchboard_wire.v1 import frames_pb2 as pb


class Worker:
    """Handlers that block until they are told to go on, and count how many of them do."""

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.now = self.most = self.begun = 0
        self.events: list[str] = []
        self._lock = threading.Lock()

    def work(self, text: str) -> str:
        with self._lock:
            self.now, self.begun = self.now + 1, self.begun + 1
            self.most = max(self.most, self.now)
        self.go_on.wait(60)
        with self._lock:
            self.now -= 1
        self.events.append("handled")
        return "done"

    def work_in_pieces(self, text: str) -> Iterator[str]:
        try:
            yield self.work(text)
            yield "more"
        finally:
            self.events.append("closed")

    def on_stop(self) -> None:
        self.events.append("stopped")


class Bench:
    """One agent of a worker's, with a concurrency of one, and calls to it."""

    def __init__(self, worker: Worker, pool: ThreadPoolExecutor, handler: Callable[..., Any]) -> None:
        @agent("a", concurrency=1, on_stop=worker.on_stop)
        class Agent:
            def __init__(self) -> None:
                self.handle = handler

        around = Surroundings(NoUplink(), Deadlines(), "a", "a", {})
        self.agent = HostedAgent(make_handler("app:a", Agent, {}, Path()), around, pool)
        self.serving = Serving()
        self.serving.set_agents({"a": self.agent})
        self.peer = Peer(LoneSidecar(self.serving), dialled=True)
        self._calls = 0
        self.deployment = Deployment(HostSettings(Path()), NoUplink(), Deadlines(), pool, lambda: None)
        self.deployment.agents["a"] = Deployed("a", "a", "1.0.0", agent=self.agent)

    def open(self) -> int:
        self._calls += 2
        opened = pb.Open(agent="a", message_id=str(self._calls))
        self._receive(pb.Frame(kind=pb.OPEN, call=self._calls, open=opened, data=b"x", end=True))
        return self._calls

    def cancel(self, call: int) -> None:
        self._receive(pb.Frame(kind=pb.CANCEL, call=call))

    def _receive(self, frame: pb.Frame) -> None:
        self.peer.receive(pb.Batch(frames=[frame]).SerializeToString())


@pytest.fixture
async def worker() -> AsyncIterator[Worker]:
    worker = Worker()
    yield worker
    worker.go_on.set()


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as pool:
        yield pool


async def until(claim: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not claim():
            await asyncio.sleep(0.005)


async def cancel_the_first_of_four(bench: Bench, worker: Worker) -> None:
    first = bench.open()
    await until(lambda: worker.begun == 1)
    for _ in range(3):
        bench.open()
    bench.cancel(first)
    await asyncio.sleep(0.1)


@pytest.mark.parametrize("name", ["work", "work_in_pieces"])
async def test_a_call_that_was_cancelled_keeps_its_slot_until_its_thread_has_ended(
    worker: Worker, pool: ThreadPoolExecutor, name: str
) -> None:
    bench = Bench(worker, pool, getattr(worker, name))
    try:
        await cancel_the_first_of_four(bench, worker)
        assert worker.begun == 1
    finally:
        worker.go_on.set()
    await until(lambda: worker.begun == 4 and not bench.serving.tasks)
    assert worker.most == 1
    async with asyncio.timeout(60):
        assert await bench.agent.idle()


async def test_a_call_that_was_cancelled_before_it_had_a_thread_never_runs(
    worker: Worker, pool: ThreadPoolExecutor
) -> None:
    bench = Bench(worker, pool, worker.work)
    busy = [pool.submit(worker.go_on.wait, 60) for _ in range(8)]
    first = bench.open()
    await asyncio.sleep(0.05)
    bench.cancel(first)
    await until(lambda: not bench.serving.tasks)
    async with asyncio.timeout(60):
        assert await bench.agent.idle()
    worker.go_on.set()
    await asyncio.gather(*map(asyncio.wrap_future, busy))
    assert worker.begun == 0


async def test_a_generator_whose_call_was_cancelled_is_closed_before_the_agent_is_idle(
    worker: Worker, pool: ThreadPoolExecutor
) -> None:
    bench = Bench(worker, pool, worker.work_in_pieces)
    call = bench.open()
    await until(lambda: worker.begun == 1)
    bench.cancel(call)
    await until(lambda: not bench.serving.tasks)
    idle = asyncio.create_task(bench.agent.idle())
    await asyncio.sleep(0.05)
    assert not idle.done()
    worker.go_on.set()
    assert await idle
    assert worker.events == ["handled", "closed"]


async def test_on_stop_runs_after_the_thread_of_a_cancelled_call(worker: Worker, pool: ThreadPoolExecutor) -> None:
    bench = Bench(worker, pool, worker.work)
    call = bench.open()
    await until(lambda: worker.begun == 1)
    bench.cancel(call)
    await until(lambda: not bench.serving.tasks)
    stopping = asyncio.create_task(bench.deployment.stop_all(60))
    await asyncio.sleep(0.05)
    worker.go_on.set()
    await stopping
    assert worker.events == ["handled", "stopped"]


async def test_a_thread_that_does_not_end_holds_no_stop_beyond_its_time(
    worker: Worker, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deployment, "LAST_S", 0.05)
    bench = Bench(worker, pool, worker.work)
    call = bench.open()
    await until(lambda: worker.begun == 1)
    bench.cancel(call)
    try:
        async with asyncio.timeout(30):
            await bench.deployment.stop_all(0.1)
        assert worker.events == ["stopped"]
    finally:
        worker.go_on.set()


async def test_an_agent_that_was_replaced_before_the_stop_is_stopped_too(
    worker: Worker, pool: ThreadPoolExecutor
) -> None:
    bench = Bench(worker, pool, worker.work)
    bench.open()
    await until(lambda: worker.begun == 1)
    await bench.deployment.apply(pb.Assignments(generation=2))
    assert not bench.deployment.agents
    stopping = asyncio.create_task(bench.deployment.stop_all(60))
    await asyncio.sleep(0.05)
    worker.go_on.set()
    await stopping
    assert worker.events == ["handled", "stopped"]
