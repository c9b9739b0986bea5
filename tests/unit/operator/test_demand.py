"""When a pool sleeps and when it is woken: by what gateways and sidecars say, and never by what nobody could tell."""

import dataclasses
import datetime
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from operator_objects import CONTEXT, come_true, make_node, make_pod, make_record, make_snapshot, replicas_of

from switchboard_operator.demand import Demand, Demands, Voice
from switchboard_operator.instances import Instance, observe_instances
from switchboard_operator.load import fold_load
from switchboard_operator.plan import plan_node
from switchboard_operator.reconciling import Reconciler
from switchboard_operator.registry import Registry, fold, introduce
from switchboard_operator.replicas import Replicas, choose_replicas
from switchboard_operator.snapshot import NodeSnapshot
from switchboard_wire.internal_v1.registry_pb2 import Demand as Said
from switchboard_wire.internal_v1.registry_pb2 import Heartbeat, NodeDemand
from switchboard_wire.v1 import frames_pb2 as pb

POOL = ("ns", "writers")
SLEEPER = {"minReplicas": 0, "maxReplicas": 3, "idleSeconds": 60}
CREATED = "2026-11-01T00:00:00Z"
HELLO = pb.Hello(namespace="ns", node="writers", instance="writers-a", pod_uid="uid-writers-a")


class World:
    """One AgentNode that may sleep, watched since second 0, with one gateway and one instance that have spoken."""

    def __init__(self) -> None:
        self.registry = Registry(started=0.0)
        self.demands = Demands()
        self.demands.watch(POOL, 1, 0.0)
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


def at(seconds: float) -> str:
    """UTC, so long after the second in which the pod was created."""
    created = datetime.datetime.fromisoformat(CREATED) + datetime.timedelta(seconds=seconds)
    return created.strftime("%Y-%m-%dT%H:%M:%SZ")


def decide(world: World, now: float, limit_s: int = 60, replicas: int = 1, **pod: Any) -> tuple[Replicas, list[float]]:
    """What a reconcile decides for an instance that was created in second 0, and in how many seconds it comes again."""
    absent, again = cast(Any, None), list[float]()
    reconciler = Reconciler(
        look=absent,
        writer=absent,
        executor=absent,
        poster=absent,
        registry=world.registry,
        demands=world.demands,
        images=absent,
        around=absent,
        add=lambda key, delay_s: again.append(delay_s),
        add_gently=absent,
        utc_now=lambda: at(now),
    )
    snapshot = sleeper(replicas, idleSeconds=limit_s)
    snapshot = come_true(snapshot, plan_node(snapshot, CONTEXT))
    instances = observe_instances([make_pod(**{"created": CREATED, "ready": False} | pod)], {}, {}, world.registry, now)
    return choose_replicas(snapshot, reconciler._demand(snapshot, instances, now)), again


AWAKE, ASLEEP = Replicas(1), Replicas(0, scale=0)


@pytest.mark.parametrize(
    ("age", "limit_s", "loads", "pod", "chosen"),
    [
        pytest.param(61.0, 60, False, {"running": False}, AWAKE, id="a pod that is not scheduled, or pulls its image"),
        pytest.param(899.0, 60, False, {}, AWAKE, id="until the bound"),
        pytest.param(900.0, 60, False, {}, ASLEEP, id="and no longer"),
        pytest.param(899.0, 60, True, {}, AWAKE, id="a host that loads"),
        pytest.param(900.0, 60, True, {}, ASLEEP, id="and one that loads for ever"),
        pytest.param(1199.0, 600, False, {}, AWAKE, id="a pool that is idle for long before it sleeps is as patient"),
        pytest.param(1200.0, 600, False, {}, ASLEEP, id="and then sleeps too"),
        pytest.param(61.0, 60, False, {"deleting": True}, ASLEEP, id="a pod that goes will never be ready"),
    ],
)
def test_a_pod_that_was_never_ready_keeps_its_pool_awake_until_a_bound(
    age: float, limit_s: int, loads: bool, pod: dict[str, Any], chosen: Replicas
) -> None:
    world = World()
    world.quiet(age)
    if loads:
        begun = introduce(HELLO, 1.0)
        world.registry.put(fold(fold(begun, Heartbeat(ready=False), 2.0), Heartbeat(ready=False), age))
    assert decide(world, age, limit_s, **pod) == (chosen, [float(limit_s)] if chosen == AWAKE else [])


def test_once_an_instance_is_ready_its_pool_is_idle_since_then() -> None:
    world = World()
    record = introduce(HELLO, 1.0)
    for now in (2.0, 360.0):
        record = fold(record, Heartbeat(ready=False), now)
    for now in (362.0, 364.0, 420.0):
        record = fold(record, Heartbeat(ready=True), now)
    world.registry.put(record)
    world.quiet(421.0)
    assert decide(world, 421.0, ready=True) == (AWAKE, [1.0])
    assert decide(world, 422.0, ready=True) == (ASLEEP, [])


def test_a_host_that_fails_after_it_was_ready_does_not_keep_its_pool_awake() -> None:
    world = World()
    record = introduce(HELLO, 1.0)
    for now in range(2, 200, 2):  # ready and not by turns, as one that crashes again and again
        record = fold(record, Heartbeat(ready=now % 4 == 0), float(now))
    world.registry.put(record)
    world.quiet(199.0)
    assert decide(world, 199.0) == (ASLEEP, [])


@pytest.mark.parametrize("told", [pytest.param(True, id="by its event"), pytest.param(False, id="by the index")])
def test_a_pool_that_somebody_raises_from_none_stays_awake_for_its_idle_time(told: bool) -> None:
    world = World()
    world.demands.watch(POOL, 0, 100.0)
    if told:  # replicas that do not lead hear of nothing else
        world.demands.watch(POOL, 2, 500.0)
    for now, chosen in ((500.0, Replicas(2)), (559.0, Replicas(2)), (560.0, ASLEEP)):
        world.quiet(now)
        world.registry.put(make_record(heard=now, was_ready=True, load=fold_load(None, pb.Load(), now)))
        assert decide(world, now, replicas=2, ready=True)[0] == chosen
        if told:
            world.demands.watch(POOL, 2, now)  # what else changes of it says nothing


def test_a_pool_woken_by_a_call_is_idle_since_that_call_or_its_own_waking(world: World) -> None:
    world.demands.watch(POOL, 0, 50.0)
    world.call(80.0, held=1)
    world.demands.watch(POOL, 1, 80.5)
    world.quiet(99.0)
    assert world.demand(100.0) == Demand(idle_s=19.5)
    world.call(90.0)
    world.demands.watch(POOL, 1, 95.0)
    world.quiet(99.0)
    assert world.demand(100.0) == Demand(idle_s=10.0)


def test_a_pool_that_may_no_longer_sleep_is_forgotten_as_one_that_slept(world: World) -> None:
    world.demands.watch(POOL, 0, 10.0)
    world.demands.forget(POOL)
    world.demands.watch(POOL, 1, 20.0)
    world.demands.watch(POOL, 1, 60.0)
    assert world.demand(100.0) == Demand(idle_s=80.0)


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
