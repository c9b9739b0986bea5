"""When a pool sleeps and when it is woken: by what gateways and sidecars say, and never by what nobody could tell."""

import dataclasses
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from operator_objects import CONTEXT, come_true, make_node, make_pod, make_record, make_snapshot, replicas_of

from switchboard_operator.demand import Demand, Demands, Voice
from switchboard_operator.instances import Instance, observe_instances
from switchboard_operator.load import fold_load
from switchboard_operator.plan import plan_node
from switchboard_operator.registry import Registry
from switchboard_operator.replicas import Replicas, choose_replicas
from switchboard_operator.snapshot import NodeSnapshot
from switchboard_wire.internal_v1.registry_pb2 import Demand as Said
from switchboard_wire.internal_v1.registry_pb2 import NodeDemand
from switchboard_wire.v1 import frames_pb2 as pb

POOL = ("ns", "writers")
SLEEPER = {"minReplicas": 0, "maxReplicas": 3, "idleSeconds": 60}


class World:
    """One AgentNode that may sleep, watched since second 0, with one gateway and one instance that have spoken."""

    def __init__(self) -> None:
        self.registry = Registry(started=0.0)
        self.demands = Demands()
        self.demands.watch(POOL, 0.0)
        self.gateway: Voice = self.demands.join(0.0)

    def call(self, now: float, held: int = 0, in_flight: int = 0) -> list[tuple[str, str]]:
        said = Said(nodes=[NodeDemand(namespace="ns", node="writers", held=held, in_flight=in_flight)])
        return self.demands.hear(self.gateway, said, now)

    def quiet(self, now: float) -> None:
        self.demands.hear(self.gateway, Said(), now)

    def beat(self, now: float, worked: float = 0.0, **load: int) -> None:
        self.registry.put(make_record(heard=now, worked=worked, load=fold_load(None, pb.Load(**load), now)))

    def demand(self, now: float, *, ready: bool = True) -> Demand:
        pods = [make_pod(ready=ready)]
        instances: list[Instance] = observe_instances(pods, {}, {}, self.registry, now)
        return self.demands.of(POOL, instances, self.registry, now)


@pytest.fixture
def world() -> World:
    made = World()
    made.beat(99.0)
    made.quiet(99.0)
    return made


def test_calls_that_wait_are_added_up_over_gateways_that_speak(world: World) -> None:
    second = world.demands.join(0.0)
    waiting = NodeDemand(namespace="ns", node="writers", held=2)
    world.demands.hear(second, Said(nodes=[waiting, NodeDemand(namespace="ns", node="readers", in_flight=1)]), 20.0)
    world.call(25.0, held=3)
    assert world.demands.held(25.0) == {POOL: 5}
    assert world.demands.held(31.0) == {POOL: 3}, "the second is silent"
    world.call(32.0, in_flight=1)
    assert world.demands.held(32.0) == {}


def test_a_pool_is_idle_since_its_last_call(world: World) -> None:
    world.call(20.0)
    world.quiet(99.0)
    assert world.demand(100.0) == Demand(idle_s=80.0)


def test_calls_that_wait_are_told_at_once_and_are_summed_over_gateways(world: World) -> None:
    assert world.call(99.0, held=2) == [POOL]
    other = world.demands.join(99.0)
    world.demands.hear(other, Said(nodes=[NodeDemand(namespace="ns", node="writers", held=1)]), 99.0)
    assert world.demand(100.0) == Demand(held=3)


def test_work_that_only_the_sidecar_knows_counts(world: World) -> None:
    world.beat(99.0, in_flight=1)
    assert world.demand(100.0).idle_s == 0
    world.beat(99.0, worked=70.0)
    assert world.demand(100.0).idle_s == 30.0


def test_nobody_sleeps_by_the_word_of_no_gateway_or_a_silent_one(world: World) -> None:
    assert world.demand(100.0).idle_s == 100.0
    assert world.demand(120.0).idle_s == 0
    world.demands.leave(world.gateway)
    assert world.demand(100.0).idle_s == 0


def test_an_instance_that_serves_and_is_not_heard_keeps_the_pool_awake(world: World) -> None:
    world.beat(10.0)
    assert world.demand(100.0).idle_s == 0
    assert world.demand(100.0, ready=False).idle_s == 100.0, "one that never gets ready does not"


def test_a_call_that_is_lost_with_its_gateway_wakes_nobody(world: World) -> None:
    world.call(99.0, held=1)
    world.demands.leave(world.gateway)
    assert world.demand(100.0).held == 0


def sleeper(replicas: int, **scaling: Any) -> NodeSnapshot:
    return make_snapshot(make_node(replicas=replicas, autoscaling=SLEEPER | scaling))


@pytest.mark.parametrize(
    ("replicas", "demand", "chosen"),
    [
        pytest.param(0, Demand(held=1), Replicas(1, scale=1), id="a call wakes it"),
        pytest.param(0, Demand(), Replicas(0), id="it sleeps on"),
        pytest.param(0, Demand(idle_s=999), Replicas(0), id="asleep for long, it is told no second time"),
        pytest.param(1, Demand(idle_s=59), Replicas(1), id="not idle for long enough"),
        pytest.param(1, Demand(idle_s=60), Replicas(0, scale=0), id="idle: it sleeps"),
        pytest.param(3, Demand(idle_s=60), Replicas(0, scale=0), id="idle: it sleeps with all instances"),
        pytest.param(3, Demand(held=5), Replicas(3), id="calls that wait are the autoscaler's affair beyond one"),
    ],
)
def test_the_operator_decides_between_none_and_one(replicas: int, demand: Demand, chosen: Replicas) -> None:
    snapshot = sleeper(replicas)
    awake = come_true(snapshot, plan_node(snapshot, CONTEXT))
    assert choose_replicas(awake, demand) == chosen


@pytest.mark.parametrize("scaling", [None, {"minReplicas": 1, "maxReplicas": 3}])
def test_a_pool_that_must_not_sleep_never_does_and_one_scaled_to_zero_by_hand_is_not_woken(scaling: Any) -> None:
    snapshot = make_snapshot(make_node(replicas=2, autoscaling=scaling))
    assert choose_replicas(snapshot, Demand(idle_s=1e9)).deployment == 2
    if scaling is None:
        assert choose_replicas(make_snapshot(make_node(replicas=0)), Demand(held=9)) == Replicas(0)


demands = st.one_of(
    st.builds(Demand, held=st.integers(0, 2)), st.builds(Demand, idle_s=st.sampled_from([0.0, 59.0, 60.0, 500.0]))
)


@settings(max_examples=60, deadline=None)
@given(replicas=st.integers(0, 5), said=st.lists(demands, min_size=1, max_size=6))
def test_whatever_is_said_one_plan_is_enough_and_calls_that_wait_leave_an_instance(
    replicas: int, said: list[Demand]
) -> None:
    snapshot = sleeper(replicas)
    for demand in said:
        context = dataclasses.replace(CONTEXT, demand=demand, is_patient=False)
        snapshot = come_true(snapshot, plan_node(snapshot, context))
        assert plan_node(snapshot, context) == []
        assert snapshot.node.spec["replicas"] == replicas_of(snapshot)
        assert 0 <= replicas_of(snapshot) <= 3
        if demand.held:
            assert replicas_of(snapshot) >= 1
