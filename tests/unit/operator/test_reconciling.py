"""Whole looks at an AgentNode, against an API server in memory."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, cast

import pytest
from operator_objects import AROUND, CONTEXT, IMAGES, NOW, come_true, make_agent, make_node, make_pod, make_snapshot

from switchboard_kube import DEPLOYMENTS, Invalid, Json
from switchboard_kube import Resource as KubeResource
from switchboard_kube.testing import FakeKube
from switchboard_operator.assignments import read_assignments
from switchboard_operator.demand import Demands
from switchboard_operator.executing import Executor
from switchboard_operator.objects import CONFIG_MAP, DEPLOYMENT, Resource, read_resource
from switchboard_operator.pacing import Change, Key, Pace
from switchboard_operator.plan import plan_node
from switchboard_operator.posting import Poster
from switchboard_operator.reconciling import Reconciler
from switchboard_operator.registry import Registry
from switchboard_operator.snapshot import Indexes, NodeSnapshot
from switchboard_operator.writing import RESOURCES, Writer
from switchboard_wire import names

KEY = (names.AGENT_NODE, "ns", "writers")
OLD, BOTH = "-----BEGIN CERTIFICATE----- old", "-----BEGIN CERTIFICATE----- old and new"


class PickyKube(FakeKube):
    """Refuses what `refuses` tells of a manifest."""

    refuses: Callable[[Mapping[str, Any]], bool] = staticmethod(lambda manifest: False)
    asked = 0

    async def apply(self, resource: KubeResource, manifest: Mapping[str, Any], *, force: bool = True) -> Json:
        self.asked += 1
        if self.refuses(manifest):
            raise Invalid(422, "Invalid", f"{manifest['kind']} is refused")
        return await super().apply(resource, manifest, force=force)


@dataclass
class World:
    """A pool of two pods, and a leader that looks at it. ca_bundle: what pods are to trust."""

    snapshot: NodeSnapshot
    ca_bundle: str = OLD
    kube: PickyKube = field(default_factory=PickyKube)

    def __post_init__(self) -> None:
        async def look(read: Callable[[Indexes], Any]) -> Any:
            return read(self._indexes())

        writer = Writer(self.kube, lambda: None, lambda: 0.0)
        self.reconciler = Reconciler(
            look=look,
            writer=writer,
            executor=Executor(writer),
            poster=cast(Poster, NoPoster()),
            registry=Registry(started=0.0),
            demands=Demands(),
            images=IMAGES,
            around=AROUND,
            add=lambda key, delay_s: None,
            add_gently=lambda key, delay_s: None,
            utc_now=lambda: NOW,
            ca_bundle=lambda: self.ca_bundle,
        )
        self.reconciler._pace = Unpaced()
        for held in (self.snapshot.node, *self.snapshot.children.values()):
            self._store(held)
        self.see()

    def change(self, *, agents: Iterable[Resource] = (), **spec: Any) -> None:
        """The user writes this."""
        node = self.snapshot.node
        meta = replace(node.meta, generation=node.meta.generation + 1)
        self._store(replace(node, meta=meta, spec={**node.spec, **spec}))
        self.snapshot = replace(self.snapshot, agents=tuple(agents))
        self.see()

    def annotate(self, annotations: Mapping[str, str]) -> None:
        """The user writes these."""
        node = self.snapshot.node
        self._store(replace(node, meta=replace(node.meta, annotations=annotations)))
        self.see()

    def see(self) -> None:
        """The watches show what there is."""
        held = {kind: obj for (resource, _, _), obj in self.kube.objects.items() if (kind := resource.kind)}
        node = read_resource(names.AGENT_NODE, held.pop(names.AGENT_NODE))
        children = {kind: read_resource(kind, obj) for kind, obj in held.items()}
        self.snapshot = replace(self.snapshot, node=node, children=children)

    async def look_at_it(self) -> float | None:
        """One look, after which the watches show what was written."""
        again = await self.reconciler.reconcile(KEY)
        self.see()
        return again

    def condition(self, kind: str) -> tuple[str, str]:
        """Status and reason of a condition."""
        conditions = self.snapshot.node.status.get("conditions") or ()
        return next((c["status"], c["reason"]) for c in conditions if c["type"] == kind)

    def trusted(self) -> tuple[str, int]:
        """What pods are told to trust, and by which generation of assignments."""
        assignments = read_assignments(self.snapshot.children[CONFIG_MAP])
        assert assignments is not None
        return assignments.ca_bundle, assignments.generation

    def written(self) -> list[str]:
        """What was written since this was asked last, but for status."""
        done = [f"{verb} {kind}" for verb, kind, _ in self.kube.writes if verb != "patch status"]
        self.kube.writes.clear()
        return done

    def _indexes(self) -> Indexes:
        snapshot, pool = self.snapshot, ("ns", "writers")
        return Indexes(
            nodes={pool: [snapshot.node]},
            children={("ns", kind, child.meta.name): [child] for kind, child in snapshot.children.items()},
            pods={pool: snapshot.pods},
            agents_naming={pool: snapshot.agents},
            agents={("ns", agent.meta.name): [agent] for agent in snapshot.agents},
        )

    def _store(self, held: Resource) -> None:
        resource = RESOURCES[held.kind]
        owner = {"kind": held.meta.owner_kind, "name": held.meta.owner_name, "uid": held.meta.owner_uid}
        metadata = {
            "name": held.meta.name,
            "namespace": "ns",
            "uid": held.meta.uid,
            "resourceVersion": held.meta.resource_version,
            "generation": held.meta.generation,
            "creationTimestamp": held.meta.created,
            "labels": dict(held.meta.labels),
            "annotations": dict(held.meta.annotations),
            "ownerReferences": [owner | {"controller": True}] if held.meta.owner_uid else [],
        }
        body = {"kind": held.kind, "metadata": metadata, "spec": held.spec, "status": held.status, "data": held.data}
        self.kube.objects[(resource, "ns", held.meta.name)] = body


class Unpaced(Pace):
    def wait_s(self, key: Key, change: Change, now: float) -> float:
        """Every status is written at once."""
        return 0.0


class NoPoster:
    async def tell(self, *_: object) -> None:
        """Events are of no interest here."""


def settled(ca_bundle: str = OLD, **spec: Any) -> NodeSnapshot:
    """A pool with all its children."""
    snapshot = make_snapshot(make_node(**spec), pods=[make_pod("writers-a"), make_pod("writers-b")])
    while actions := plan_node(snapshot, replace(CONTEXT, ca_bundle=ca_bundle)):
        snapshot = come_true(snapshot, actions)
    return snapshot


def has_agents(manifest: Mapping[str, Any]) -> bool:
    """Assignments with an Agent: too large, say."""
    return manifest["kind"] == CONFIG_MAP and "summarizer" in manifest["data"][names.ASSIGNMENTS_FILE]


async def test_refused_assignments_keep_neither_the_scale_nor_a_new_authority_from_a_pool() -> None:
    world = World(settled())
    world.kube.refuses = has_agents
    world.ca_bundle = BOTH
    world.change(agents=[make_agent()], replicas=5)
    assert await world.look_at_it()
    assert world.written() == ["apply Deployment", "apply ConfigMap"]
    assert world.condition("Accepted") == ("False", "InvalidTemplate")
    assert world.trusted() == (BOTH, 2)
    for _ in range(3):
        await world.look_at_it()
    assert world.written() == []
    world.kube.refuses = PickyKube.refuses
    world.change(agents=[])
    await world.look_at_it()
    assert world.trusted() == (BOTH, 2)


async def test_where_every_config_map_is_refused_both_are_sent_once() -> None:
    world = World(settled())
    world.kube.refuses = lambda manifest: manifest["kind"] == CONFIG_MAP
    world.ca_bundle = BOTH
    world.change(agents=[make_agent()])
    for _ in range(3):
        await world.look_at_it()
    assert world.kube.asked == 2
    assert world.trusted() == (OLD, 1)


async def test_pods_that_begin_with_tls_wait_for_their_bundle() -> None:
    world = World(settled(""))
    world.kube.refuses = lambda manifest: manifest["kind"] == CONFIG_MAP
    world.change(replicas=5)
    await world.look_at_it()
    assert world.written() == []


async def test_one_write_of_the_assignments_is_all_where_something_else_is_refused() -> None:
    world = World(settled())
    world.kube.refuses = lambda manifest: manifest["kind"] == "Deployment"
    world.ca_bundle = BOTH
    world.change(replicas=5)
    await world.look_at_it()
    assert world.written() == ["apply ConfigMap"]
    assert world.condition("Accepted") == ("False", "InvalidTemplate")


def rolled_out(snapshot: NodeSnapshot) -> NodeSnapshot:
    """All pods are of the newest template."""
    deployment = snapshot.children[DEPLOYMENT]
    status = {"observedGeneration": deployment.meta.generation}
    status |= dict.fromkeys(("replicas", "updatedReplicas", "availableReplicas", "readyReplicas"), 2)
    return replace(snapshot, children={**snapshot.children, DEPLOYMENT: replace(deployment, status=status)})


def stalled(snapshot: NodeSnapshot) -> NodeSnapshot:
    """The newest template does not come up."""
    deployment = rolled_out(snapshot).children[DEPLOYMENT]
    condition = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": "late"}
    status = {**deployment.status, "updatedReplicas": 1, "conditions": [condition]}
    return replace(snapshot, children={**snapshot.children, DEPLOYMENT: replace(deployment, status=status)})


@pytest.mark.parametrize("before", [rolled_out, stalled])
async def test_a_template_that_was_just_applied_is_not_said_to_be_rolled_out(
    before: Callable[[NodeSnapshot], NodeSnapshot],
) -> None:
    world = World(before(settled()))
    world.change(drainSeconds=77)
    for _ in range(2):  # the second time as the watches show it, before its controller has looked
        await world.look_at_it()
        assert world.condition("Progressing") == ("True", "RollingOut")
    assert world.written().count("apply Deployment") == 1
    world.kube.objects[(DEPLOYMENTS, "ns", "writers")]["status"] = dict(
        rolled_out(world.snapshot).children[DEPLOYMENT].status
    )
    world.see()
    await world.look_at_it()
    assert world.condition("Progressing") == ("False", "Complete")


async def test_a_continued_pool_rolls_out_what_was_edited_while_it_was_paused() -> None:
    world = World(rolled_out(settled()))
    world.annotate({names.PAUSED_ANNOTATION: "true"})
    world.change(drainSeconds=77)
    await world.look_at_it()
    assert world.condition("Progressing") == ("False", "Paused")
    world.annotate({})
    await world.look_at_it()
    assert world.condition("Progressing") == ("True", "RollingOut")


async def test_an_apply_that_changes_nothing_leaves_a_pool_rolled_out() -> None:
    world = World(rolled_out(settled()))
    deployment = world.kube.objects[(DEPLOYMENTS, "ns", "writers")]
    del deployment["metadata"]["annotations"][names.APPLIED_ANNOTATION]
    world.see()
    assert await world.look_at_it() is None
    assert world.written().count("apply Deployment") == 1
    assert world.condition("Progressing") == ("False", "Complete")


async def test_a_pool_whose_deployment_somebody_keeps_changing_is_told_of_all_the_same() -> None:
    world = World(rolled_out(settled()))
    for _ in range(3):
        world.kube.objects[(DEPLOYMENTS, "ns", "writers")]["spec"]["replicas"] = 1
        world.kube.objects[(DEPLOYMENTS, "ns", "writers")]["metadata"]["generation"] += 1
        world.see()
        await world.look_at_it()
    assert world.written() == ["apply Deployment"] * 3
    assert world.condition("Accepted") == ("True", "Accepted")


async def test_the_first_look_at_a_pool_tells_of_it() -> None:
    world = World(make_snapshot(make_node()))
    await world.look_at_it()
    assert "apply Deployment" in world.written()
    assert world.condition("Progressing") == ("True", "Creating")
