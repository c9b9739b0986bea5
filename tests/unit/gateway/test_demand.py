"""What a gateway tells operators of its calls, and how it measures a pool that wakes."""

import asyncio

import pytest
from prometheus_client import CollectorRegistry

from switchboard_gateway.core import Core
from switchboard_gateway.demand import DemandMeter
from switchboard_gateway.links import Link
from switchboard_gateway.metrics import GatewayMetrics
from switchboard_routing.policy import AgentPolicy
from switchboard_wire.calls import Payload, new_open
from switchboard_wire.peer import LocalPeer, Peer, local_pair
from switchboard_wire.v1 import frames_pb2 as pb

Told = dict[str, tuple[int, int]]


class Worker:
    """An instance that keeps what it is given until it is told to answer."""

    def __init__(self, core: Core) -> None:
        self.given: list[pb.Frame] = []
        self.peer, _ = local_pair(self, Link(core), "worker")
        hosted = pb.Hosted(agents=[pb.HostedAgent(name="echo", type="echo", state=pb.HOSTED_READY)])
        hello = pb.Hello(namespace="default", node="pool", instance="worker", pod_uid="worker", hosted=hosted)
        self.peer.send(pb.Frame(kind=pb.HELLO, hello=hello))

    def on_open(self, peer: Peer, frame: pb.Frame) -> None:
        self.given.append(frame)
        peer.accept(frame.call, lambda later: None)

    def on_control(self, peer: Peer, frame: pb.Frame) -> None:
        pass

    def on_lost(self, peer: Peer) -> None:
        pass

    def answer(self) -> None:
        self.peer.send(pb.Frame(kind=pb.CLOSE, call=self.given.pop().call))


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def core() -> Core:
    made = Core("default", GatewayMetrics.create(CollectorRegistry()))
    nodes = frozenset({"pool", "other"})
    made.set_directory([AgentPolicy(namespace="default", name="echo", type="echo", nodes=nodes)])
    return made


async def turns() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def call(core: Core) -> tuple[LocalPeer, int]:
    """Open a call; who opened it, and its number."""
    client = core.attach_local("client")
    number = client.open(new_open(pb.Open(target=pb.Target(type="echo")), Payload(b""), end=True), lambda frame: None)
    await turns()
    return client, number


async def join(core: Core) -> Worker:
    worker = Worker(core)
    await turns()
    return worker


def told(meter: DemandMeter) -> Told:
    return {node.node: (node.held, node.in_flight) for node in meter.read().nodes}


async def test_a_call_that_waits_is_told_for_every_agentnode_of_its_agent_and_at_once(core: Core) -> None:
    poked: list[bool] = []
    core.on_first_held = lambda: poked.append(True)
    meter = DemandMeter(core)
    await call(core)
    assert told(meter) == {"pool": (1, 0), "other": (1, 0)}
    await call(core)
    assert (told(meter)["pool"], poked) == ((2, 0), [True])


async def test_a_call_under_way_is_told_for_the_agentnode_that_has_it(core: Core) -> None:
    worker = await join(core)
    meter = DemandMeter(core)
    await call(core)
    assert told(meter)["pool"] == (0, 1)
    assert told(meter) == {"pool": (0, 1)}
    worker.answer()
    await turns()
    assert told(meter) == {}


async def test_a_call_that_came_and_went_between_two_reports_is_told_once_to_each_listener(core: Core) -> None:
    worker = await join(core)
    first, second = DemandMeter(core), DemandMeter(core)
    await call(core)
    worker.answer()
    await turns()
    assert told(first)["pool"] == (0, 0)
    assert told(first) == {}
    assert told(second)["pool"] == (0, 0)


async def test_a_caller_that_gives_up_is_no_demand_any_more(core: Core) -> None:
    client, number = await call(core)
    meter = DemandMeter(core)
    told(meter)
    client.send(pb.Frame(kind=pb.CANCEL, call=number))
    await turns()
    assert told(meter) == {}


def cold_starts(core: Core) -> dict[tuple[str, ...], float]:
    return {key: histogram.total for key, histogram in core.metrics.cold_starts.items()}


@pytest.fixture
def clock(core: Core) -> Clock:
    core.now = clock = Clock()
    return clock


async def test_a_cold_start_lasts_from_the_first_call_that_waits_to_the_first_instance(
    core: Core, clock: Clock
) -> None:
    core.cold_starts.sleepers = {("default", "pool")}
    await call(core)
    clock.now += 5
    await call(core)
    clock.now += 7
    await join(core)
    assert cold_starts(core) == {("default", "echo"): 12.0}
    await call(core)
    assert cold_starts(core) == {("default", "echo"): 12.0}


async def test_waiting_for_a_pool_that_never_sleeps_is_no_cold_start(core: Core, clock: Clock) -> None:
    await call(core)
    clock.now += 5
    await join(core)
    assert cold_starts(core) == {}


async def test_a_cold_start_that_nobody_waited_for_to_the_end_is_not_counted(core: Core, clock: Clock) -> None:
    core.cold_starts.sleepers = {("default", "pool")}
    client, number = await call(core)
    client.send(pb.Frame(kind=pb.CANCEL, call=number))
    await turns()
    clock.now += 5
    await join(core)
    assert cold_starts(core) == {}
