"""Which pods go when a pool shrinks: those that miss least, marked and seen to be marked before the number falls."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from operator_objects import CONTEXT, come_true, make_child, make_node, make_pod, make_snapshot, replicas_of

from switchboard_kube import HORIZONTAL_AUTOSCALERS, PODS, Forbidden, Json
from switchboard_kube import Resource as Address
from switchboard_kube.testing import FakeKube
from switchboard_operator.executing import Executor
from switchboard_operator.instances import Instance
from switchboard_operator.load import Load, fold_load
from switchboard_operator.objects import DEPLOYMENT, Pod
from switchboard_operator.plan import Context, plan_node
from switchboard_operator.shrink import CHOSEN, Mark, choose_pods, plan_shrink
from switchboard_operator.snapshot import NodeSnapshot
from switchboard_operator.writing import Writer
from switchboard_wire.v1 import frames_pb2 as pb


def busy(work: int) -> Load:
    return fold_load(None, pb.Load(in_flight=work), 0.0)


def instance(pod: Pod, work: int | None = 0, state: str = "Up", zone: str = "") -> Instance:
    """An instance with so much work; None: it has not said."""
    return Instance(pod, zone, state, "Idle", "", (), load=None if work is None else busy(work))


def pool(*instances: Instance, running: int | None = None) -> NodeSnapshot:
    """An AgentNode whose Deployment has the pods of these instances."""
    node = make_node()
    replicas = len(instances) if running is None else running
    deployment = make_child(DEPLOYMENT, node, spec={"replicas": replicas})
    return make_snapshot(node, children=[deployment], pods=[one.pod for one in instances])


def go_first(*instances: Instance, count: int = 1) -> list[str]:
    found = choose_pods([one.pod for one in instances], count, {one.pod.uid: one for one in instances})
    return [pod.name for pod in found]


@pytest.mark.parametrize(
    "last",
    [
        pytest.param({"node_name": "", "running": False, "ready": False}, id="not scheduled"),
        pytest.param({"running": False, "ready": False}, id="not running"),
        pytest.param({"ready": False}, id="not ready"),
        pytest.param({"created": "2026-11-02T00:00:00Z"}, id="the newest of idle ones"),
    ],
)
def test_before_idle_pods_goes_one_that_is(last: dict[str, Any]) -> None:
    idle = [instance(make_pod(name)) for name in "bc"]
    assert go_first(idle[0], instance(make_pod("a", **last)), idle[1]) == ["a"]


@pytest.mark.parametrize("state", ["Degraded", "Down"])
def test_an_unhealthy_instance_goes_before_idle_ones_even_with_work(state: str) -> None:
    assert go_first(instance(make_pod("b")), instance(make_pod("a"), 3, state)) == ["a"]


def test_idle_instances_go_first_then_those_with_the_least_work_and_unknown_ones_are_not_taken_for_idle() -> None:
    instances = [instance(make_pod(name), work) for name, work in (("a", 5), ("b", 0), ("c", 2), ("d", None))]
    assert go_first(*instances, count=4)[0] == "b"
    assert go_first(*instances[:3], count=3) == ["b", "c", "a"]


def test_of_equals_those_go_that_leave_the_zones_even() -> None:
    zones = {"a": "one", "b": "one", "c": "one", "d": "two"}
    instances = [instance(make_pod(name), zone=zone) for name, zone in zones.items()]
    assert {zones[name] for name in go_first(*instances, count=2)} == {"one"}


def test_the_number_falls_only_after_the_marks_were_seen() -> None:
    instances = [instance(make_pod("a"), 1), instance(make_pod("b")), instance(make_pod("c"))]
    before = pool(*instances)
    first = plan_shrink(before, 1, instances, is_patient=True)
    assert (first.replicas, first.waits) == (3, True)
    assert {(mark.pod.name, mark.cost) for mark in first.marks} == {("b", CHOSEN), ("c", CHOSEN)}

    seen = come_true(before, first.marks)
    assert plan_shrink(seen, 1, instances, is_patient=True).replicas == 1


def test_a_choice_that_stands_is_not_made_anew_because_an_equal_one_exists() -> None:
    marked = make_pod("a", deletion_cost=CHOSEN)
    instances = [instance(marked), instance(make_pod("b", created="2026-11-09T00:00:00Z"))]
    assert plan_shrink(pool(*instances), 1, instances, is_patient=True).replicas == 1


def test_a_marked_pod_that_got_work_meanwhile_is_let_be_for_an_idle_one() -> None:
    instances = [instance(make_pod("a", deletion_cost=CHOSEN), 4), instance(make_pod("b"))]
    shrink = plan_shrink(pool(*instances), 1, instances, is_patient=True)
    assert {(mark.pod.name, mark.cost) for mark in shrink.marks} == {("a", None), ("b", CHOSEN)}
    assert shrink.replicas == 2


def test_a_shrink_waits_for_instances_that_were_not_heard_yet_but_not_for_ever() -> None:
    instances = [instance(make_pod("a"), None), instance(make_pod("b"))]
    assert plan_shrink(pool(*instances), 1, instances, is_patient=True).replicas == 2
    assert plan_shrink(pool(*instances), 1, instances, is_patient=False).replicas == 1


def test_pods_that_are_not_ready_go_without_a_mark() -> None:
    instances = [instance(make_pod("a", ready=False), None), instance(make_pod("b"))]
    assert plan_shrink(pool(*instances), 1, instances, is_patient=True).replicas == 1


def test_nothing_is_marked_when_all_go() -> None:
    instances = [instance(make_pod("a"), 1), instance(make_pod("b"))]
    assert plan_shrink(pool(*instances), 0, instances, is_patient=True) == plan_shrink(pool(), 0, [], is_patient=True)


def test_marks_go_when_the_shrink_is_called_off_and_stay_while_the_chosen_are_deleted() -> None:
    instances = [instance(make_pod("a", deletion_cost=CHOSEN)), instance(make_pod("b"))]
    called_off = plan_shrink(pool(*instances), 2, instances, is_patient=True)
    assert called_off.marks == (Mark(instances[0].pod, None),)
    under_way = plan_shrink(pool(*instances, running=1), 1, instances, is_patient=True)
    assert under_way.marks == ()


def test_a_cost_that_somebody_else_wrote_is_never_taken_away() -> None:
    instances = [instance(make_pod("a", deletion_cost="7")), instance(make_pod("b"))]
    assert plan_shrink(pool(*instances), 2, instances, is_patient=True).marks == ()


works = st.lists(st.one_of(st.integers(0, 3)), min_size=1, max_size=12)


@settings(max_examples=60, deadline=None)
@given(work=works, wanted=st.integers(0, 12))
def test_no_busy_pod_goes_while_an_idle_one_stays_and_two_plans_are_enough(work: list[int], wanted: int) -> None:
    instances = tuple(instance(make_pod(f"p{index}"), each) for index, each in enumerate(work))
    snapshot = pool(*instances)
    snapshot = dataclasses.replace(snapshot, node=make_node(replicas=wanted))
    context: Context = dataclasses.replace(CONTEXT, instances=instances)
    for _ in range(2):
        snapshot = come_true(snapshot, plan_node(snapshot, context))
    assert replicas_of(snapshot) == wanted
    if 0 < wanted < len(work):
        marked = {pod.name for pod in snapshot.pods if pod.deletion_cost == CHOSEN}
        assert len(marked) == len(work) - wanted
        stay = [one.load.work for one in instances if one.load and one.pod.name not in marked]
        go = [one.load.work for one in instances if one.load and one.pod.name in marked]
        assert max(go) <= min(stay)


class WithoutAutoscalers(FakeKube):
    """An API server that takes no HPA: of a quota, or of a policy."""

    async def apply(self, resource: Address, manifest: Mapping[str, Any], *, force: bool = True) -> Json:
        if resource == HORIZONTAL_AUTOSCALERS:
            raise Forbidden(403, "Forbidden", "exceeded quota")
        return await super().apply(resource, manifest, force=force)


async def test_a_pool_whose_autoscaler_is_refused_marks_the_pods_that_go() -> None:
    instances = [instance(make_pod("a"), 1), instance(make_pod("b")), instance(make_pod("c"))]
    pods = [one.pod for one in instances]
    before = make_snapshot(make_node(replicas=3, autoscaling={"minReplicas": 1, "maxReplicas": 8}), pods=pods)
    before = come_true(before, plan_node(before, CONTEXT))
    edited = make_node(replicas=1, autoscaling={"minReplicas": 1, "maxReplicas": 9})
    context = dataclasses.replace(CONTEXT, instances=tuple(instances))
    plan = plan_node(dataclasses.replace(before, node=edited), context)
    kube = WithoutAutoscalers(
        *((PODS, {"metadata": {"name": pod.name, "namespace": pod.namespace, "uid": pod.uid}}) for pod in pods)
    )
    fault = await Executor(Writer(kube, lambda: None, lambda: 0.0)).run(plan, edited, 0.0)
    assert fault is not None
    assert fault.reason == "Forbidden"
    assert {name for _, kind, name in kube.writes if kind == PODS.kind} == {"b", "c"}
