"""Pools with `upgradePolicy: Rolling` take a new release one after the other."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import pytest
from operator_objects import AROUND, IMAGES, NOW, come_true, make_node, make_snapshot

from switchboard_kube.testing import FakeKube
from switchboard_operator.executing import Executor
from switchboard_operator.objects import DEPLOYMENT
from switchboard_operator.plan import Action, Context, plan_node
from switchboard_operator.pod import Images
from switchboard_operator.reconciling import Reconciler
from switchboard_operator.snapshot import Indexes, NodeSnapshot
from switchboard_operator.writing import Writer
from switchboard_wire import names

BEFORE = Context(IMAGES, AROUND)
RELEASE = Context(Images("sidecar:2", "host:2"), AROUND)


def make_reconciler(indexes: Indexes | None = None) -> Reconciler:
    absent = cast(Any, None)  # planning needs neither watches nor an API server

    async def look(read: Callable[[Indexes], Any]) -> Any:
        return read(indexes or Indexes())

    writer = Writer(FakeKube(), lambda: None, lambda: 0.0)
    return Reconciler(
        look=look,
        writer=writer,
        executor=Executor(writer),
        poster=absent,
        registry=absent,
        demands=absent,
        images=RELEASE.images,
        around=AROUND,
        add=lambda key, delay_s: None,
        add_gently=lambda key, delay_s: None,
        utc_now=lambda: NOW,
    )


def settled(name: str) -> NodeSnapshot:
    """A pool on the release of before, with all of its children."""
    snapshot = make_snapshot(make_node(name, sidecar={"upgradePolicy": "Rolling"}))
    while actions := plan_node(snapshot, BEFORE):
        snapshot = come_true(snapshot, actions)
    return snapshot


def with_policy(snapshot: NodeSnapshot, policy: str) -> NodeSnapshot:
    node = snapshot.node
    edited = replace(
        node,
        spec={**node.spec, "sidecar": {"upgradePolicy": policy}},
        meta=replace(node.meta, generation=node.meta.generation + 1),
    )
    return replace(snapshot, node=edited)


def rolled_out(snapshot: NodeSnapshot) -> NodeSnapshot:
    deployment = snapshot.children[DEPLOYMENT]
    pods = deployment.spec["replicas"]
    status = {"observedGeneration": deployment.meta.generation}
    status |= dict.fromkeys(("replicas", "updatedReplicas", "availableReplicas", "readyReplicas"), pods)
    return replace(snapshot, children={**snapshot.children, DEPLOYMENT: replace(deployment, status=status)})


def test_a_pool_that_stops_rolling_in_the_middle_of_its_turn_gives_the_turn_back() -> None:
    reconciler = make_reconciler()

    def plan(snapshot: NodeSnapshot) -> list[Action]:
        return reconciler._plan(snapshot, RELEASE, 0.0)

    first, second = settled("first"), settled("second")
    begun = plan(first)
    assert begun, "the first takes the release"
    assert not plan(second), "the second waits for its turn"
    first = with_policy(come_true(first, begun), "OnTemplateChange")
    while actions := plan(first):
        first = come_true(first, actions)
    assert not plan(second), "the first has not come through yet"
    assert not plan(rolled_out(first))
    assert plan(second), "now it is the second's turn"


def test_who_leads_again_asks_anew_whose_turn_it_is() -> None:
    reconciler, second = make_reconciler(), settled("second")
    assert reconciler._plan(settled("first"), RELEASE, 0.0)
    reconciler.begin()  # `first` was deleted while another replica led
    assert reconciler._plan(second, RELEASE, 0.0)


@pytest.mark.parametrize("kind", [names.AGENT, names.AGENT_NODE])
async def test_only_the_end_of_the_pool_itself_ends_its_turn(kind: str) -> None:
    first, second = settled("first"), settled("second")
    others = {("ns", pool.node.meta.name): [pool.node] for pool in (first, second)}
    reconciler = make_reconciler(Indexes(nodes=others if kind == names.AGENT else {("ns", "second"): [second.node]}))
    assert reconciler._plan(first, RELEASE, 0.0)
    await reconciler.reconcile((kind, "ns", "first"))
    assert bool(reconciler._plan(second, RELEASE, 0.0)) == (kind == names.AGENT_NODE)


@pytest.mark.parametrize("gone", [True, False])
async def test_a_pool_that_went_while_nobody_watched_holds_up_nobody(gone: bool) -> None:
    first, second = settled("first"), settled("second")
    reconciler = make_reconciler(Indexes(nodes={} if gone else {("ns", "first"): [first.node]}))
    assert reconciler._plan(first, RELEASE, 0.0)
    await reconciler.reconcile((names.AGENT_NODE, "ns", "another"))
    assert bool(reconciler._plan(second, RELEASE, 0.0)) == gone
