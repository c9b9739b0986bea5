"""What an AgentNode's plan follows from: whatever changes the plan changes the standing."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from operator_objects import CONTEXT, come_true, make_agent, make_meta, make_node, make_pod, make_snapshot

from switchboard_operator.plan import Context, plan_node
from switchboard_operator.pod import Images
from switchboard_operator.replicas import choose_replicas
from switchboard_operator.shrink import CHOSEN
from switchboard_operator.snapshot import NodeSnapshot
from switchboard_operator.standing import Standing, standing_of

BEFORE = make_snapshot(make_node(), agents=[make_agent()])
DONE = come_true(BEFORE, plan_node(BEFORE, CONTEXT))


def standing(snapshot: NodeSnapshot, context: Context = CONTEXT) -> Standing | None:
    return standing_of(snapshot, choose_replicas(snapshot, context.demand), context)


def edited(**spec: object) -> NodeSnapshot:
    return replace(DONE, node=make_node(meta=make_meta(generation=2), **spec))


def without(kind: str) -> NodeSnapshot:
    return replace(DONE, children={held: child for held, child in DONE.children.items() if held != kind})


def touched(kind: str) -> NodeSnapshot:
    child = DONE.children[kind]
    meta = replace(child.meta, resource_version="99", generation=99 if child.meta.generation else 0)
    return replace(DONE, children={**DONE.children, kind: replace(child, meta=meta)})


def test_nothing_is_planned_for_what_stands() -> None:
    assert plan_node(DONE, CONTEXT) == []
    assert standing(DONE) is not None
    assert standing(replace(DONE, pods=(make_pod(),))) == standing(DONE), "a pod more changes nothing"


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param(lambda: standing(edited(drainSeconds=60)), id="its spec"),
        pytest.param(lambda: standing(without("Service")), id="a child that is gone"),
        *(
            pytest.param(lambda kind=kind: standing(touched(kind)), id=f"somebody's change of its {kind}")
            for kind in DONE.children
        ),
        pytest.param(lambda: standing(replace(DONE, agents=())), id="an Agent that is gone"),
        pytest.param(
            lambda: standing(replace(DONE, agents=(make_agent(meta=make_meta("summarizer", generation=2)),))),
            id="an Agent that was edited",
        ),
        pytest.param(lambda: standing(replace(DONE, reserved=("another",))), id="a type that is reserved"),
        pytest.param(lambda: standing(DONE, replace(CONTEXT, ca_bundle="another")), id="whom to trust"),
        pytest.param(lambda: standing(DONE, replace(CONTEXT, images=Images("s:2", "h:2"))), id="a release"),
    ],
)
def test_what_may_change_the_plan_changes_the_standing(changed: Callable[[], Standing | None]) -> None:
    assert changed() != standing(DONE)


@pytest.mark.parametrize(
    "snapshot",
    [
        pytest.param(without("Deployment"), id="without a Deployment"),
        pytest.param(edited(replicas=1), id="that shrinks"),
        pytest.param(edited(sidecar={"upgradePolicy": "Rolling"}), id="that waits for its turn"),
        pytest.param(replace(DONE, pods=(make_pod(deletion_cost=CHOSEN),)), id="with a mark that may be stale"),
        pytest.param(edited(autoscaling={"minReplicas": 3, "maxReplicas": 4}), id="whose scale is to be written"),
    ],
)
def test_an_agentnode_has_no_standing(snapshot: NodeSnapshot) -> None:
    assert standing(snapshot) is None


def test_agents_are_told_apart_from_the_rest() -> None:
    more, now = standing(replace(DONE, agents=(*DONE.agents, make_agent("another")))), standing(DONE)
    assert more is not None
    assert now is not None
    assert more.rest == now.rest
    assert more.work != now.work
