"""What must be written so that an AgentNode has its children: a list of actions, in order. Pure.

Digests of what was applied last spare the writes of children that are as they should be.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from switchboard_operator.assignments import build_assignments, is_same_work, read_assignments, write_assignments
from switchboard_operator.demand import NOTHING, Demand
from switchboard_operator.desired import (
    build_account,
    build_autoscaler,
    build_budget,
    build_config_map,
    build_deployment,
    build_service,
    choose_images,
)
from switchboard_operator.digest import covers, digest_of
from switchboard_operator.instances import Instance
from switchboard_operator.objects import AUTOSCALER, CONFIG_MAP, DEPLOYMENT, Resource
from switchboard_operator.pod import Images, Surroundings
from switchboard_operator.replicas import choose_replicas
from switchboard_operator.shrink import Mark, plan_shrink
from switchboard_operator.signals import Source
from switchboard_operator.snapshot import NodeSnapshot
from switchboard_wire import names
from switchboard_wire.v1.frames_pb2 import Assignments

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Apply:
    """Server-side apply of a child. `is_new`: it is not among the watched ones, so nobody may have one of its name.

    is_needed: what follows must wait for it, though it is not new.
    """

    kind: str
    manifest: Json
    is_new: bool
    is_needed: bool = False


@dataclass(frozen=True, slots=True)
class Scale:
    """Write AgentNode/scale, unless the AgentNode has changed since it was observed."""

    replicas: int
    resource_version: str


@dataclass(frozen=True, slots=True)
class Remove:
    """Delete a child of ours."""

    kind: str
    name: str
    uid: str


Action = Apply | Scale | Remove | Mark


@dataclass(frozen=True, slots=True)
class Context:
    """What a plan depends on beside the snapshot.

    reported_generation: the highest generation of assignments that any sidecar of the AgentNode has applied.
    may_roll: no other pool takes a new release of the operator right now.
    may_assign: assignments that are there may be replaced by newer ones now.
    instances: those of the AgentNode. demand: the work that gateways have for it.
    is_patient: a shrink may wait until it is known, and marked, which pods go.
    source: where autoscalers read the work.
    ca_bundle: what the sidecars are to trust.
    settled: by kind, the (digest, version) of children that the API server stores in words other than ours.
    """

    images: Images
    around: Surroundings
    reported_generation: int = 0
    settled: Mapping[str, tuple[str, str]] | None = None
    may_roll: bool = True
    may_assign: bool = True
    instances: tuple[Instance, ...] = ()
    demand: Demand = NOTHING
    is_patient: bool = True
    source: Source = Source.CUSTOM
    ca_bundle: str = ""


def plan_node(snapshot: NodeSnapshot, context: Context) -> list[Action]:
    """The writes for an accepted AgentNode, in the order in which they must happen."""
    node = snapshot.node
    replicas = choose_replicas(snapshot, context.demand)
    actions: list[Action] = []
    scaler = snapshot.children.get(AUTOSCALER)
    if not node.spec.get("autoscaling") and scaler is not None and scaler.meta.owner_uid == node.meta.uid:
        # First of all: as long as it lives it may write over what the user asks for
        actions.append(Remove(AUTOSCALER, scaler.meta.name, scaler.meta.uid))
    if replicas.scale is not None:
        actions.append(Scale(replicas.scale, node.meta.resource_version))
    deployment = snapshot.children.get(DEPLOYMENT)
    images = choose_images(node, deployment, context.images, context.around, may_roll=context.may_roll)
    shrink = plan_shrink(snapshot, replicas.deployment, context.instances, is_patient=context.is_patient)
    # Before what the API server may refuse, where a run may end: a pool with a fault shrinks too
    actions += shrink.marks
    account, assignments = build_account(node), _config_map(snapshot, context)
    wanted = [
        # For the same reason: pods that run must hear of a new CA
        *([assignments, account] if CONFIG_MAP in snapshot.children else [account, assignments]),
        build_service(node),
        build_budget(node),
        build_deployment(node, shrink.replicas, images, context.around),
    ]
    if node.spec.get("autoscaling"):
        wanted.append(build_autoscaler(node, context.source))
    for manifest in wanted:
        action = _apply_if_needed(manifest, snapshot, context.settled or {})
        if action is not None and action.kind == CONFIG_MAP:
            action = replace(action, is_needed=_begins_to_trust(snapshot, context))
        actions += [action] if action else []
    return actions


def _begins_to_trust(snapshot: NodeSnapshot, context: Context) -> bool:
    """Whether pods of the next template could trust nobody with the assignments that are there."""
    current = _current_assignments(snapshot)
    return current is None or (bool(context.ca_bundle) and not current.ca_bundle)


def plan_trust(snapshot: NodeSnapshot, ca_bundle: str, reported_generation: int) -> list[Action]:
    """The write for an AgentNode of which nothing else may be planned: what its pods are to trust, when that changes.

    All else of its assignments stays as it is. Where pods were told of no CA yet there is none to rotate: TLS begins
    with new pods. Both other arguments as in Context.
    """
    held, current = snapshot.children.get(CONFIG_MAP), _current_assignments(snapshot)
    if held is None or current is None or not ca_bundle or current.ca_bundle in ("", ca_bundle):
        return []
    wanted = Assignments()
    wanted.CopyFrom(current)
    wanted.ca_bundle = ca_bundle
    action = _apply_if_needed(_next_config_map(snapshot, wanted, reported_generation), snapshot, {})
    return [action] if action else []


def waits_to_roll(snapshot: NodeSnapshot, context: Context) -> bool:
    """Whether the pool would take a new release, were it its turn."""
    node, deployment = snapshot.node, snapshot.children.get(DEPLOYMENT)
    chosen = (
        choose_images(node, deployment, context.images, context.around, may_roll=may_roll) for may_roll in (True, False)
    )
    return next(chosen) != next(chosen)


def waits_to_assign(snapshot: NodeSnapshot, context: Context) -> bool:
    """Whether assignments are there in which the Agents must change, and they alone: the rest never waits."""
    wanted, current = _wanted_assignments(snapshot, context), _current_assignments(snapshot)
    if current is None or is_same_work(current, wanted):
        return False
    return is_same_work(current, wanted, but_for=("agents", "reserved"))


def next_generation(node: Resource, held: Resource | None, reported: int) -> int:
    """One above all that is known; the counter of a former AgentNode of the same name counts for nothing."""
    assignments = read_assignments(held) if held is not None and held.meta.owner_uid == node.meta.uid else None
    return max(assignments.generation if assignments else 0, reported) + 1


def _config_map(snapshot: NodeSnapshot, context: Context) -> Json:
    """The assignments: as they are when they say what they should or may not change now, else the next ones."""
    node, held = snapshot.node, snapshot.children.get(CONFIG_MAP)
    wanted, current = _wanted_assignments(snapshot, context), _current_assignments(snapshot)
    if held is not None and current is not None and (not context.may_assign or is_same_work(current, wanted)):
        return build_config_map(node, held.data[names.ASSIGNMENTS_FILE])
    return _next_config_map(snapshot, wanted, context.reported_generation)


def _next_config_map(snapshot: NodeSnapshot, wanted: Assignments, reported: int) -> Json:
    """These assignments, which get the next generation.

    The resourceVersion makes the API server refuse it when another leader has written meanwhile.
    """
    node, held = snapshot.node, snapshot.children.get(CONFIG_MAP)
    wanted.generation = next_generation(node, held, reported)
    manifest = build_config_map(node, write_assignments(wanted))
    if held is not None:
        manifest["metadata"]["resourceVersion"] = held.meta.resource_version
    return manifest


def _wanted_assignments(snapshot: NodeSnapshot, context: Context) -> Assignments:
    wanted = build_assignments(snapshot.node, snapshot.agents, snapshot.reserved, context.ca_bundle)
    wanted.plain_text = context.around.plain_text
    return wanted


def _current_assignments(snapshot: NodeSnapshot) -> Assignments | None:
    held = snapshot.children.get(CONFIG_MAP)
    return read_assignments(held) if held is not None and held.meta.owner_uid == snapshot.node.meta.uid else None


def _apply_if_needed(manifest: Json, snapshot: NodeSnapshot, settled: Mapping[str, tuple[str, str]]) -> Apply | None:
    kind = manifest["kind"]
    digest = digest_of({**manifest, "metadata": _without_version(manifest["metadata"])})
    live = snapshot.children.get(kind)
    if live is not None and live.meta.annotations.get(names.APPLIED_ANNOTATION) == digest:
        if settled.get(kind) == (digest, version_of_child(live)):
            return None
        body = {"spec": live.spec, "data": live.data}
        if all(covers(body[part], manifest[part]) for part in ("spec", "data") if part in manifest):
            return None
    metadata = manifest["metadata"]
    annotations = {**metadata.get("annotations", {}), names.APPLIED_ANNOTATION: digest}
    return Apply(kind, {**manifest, "metadata": {**metadata, "annotations": annotations}}, is_new=live is None)


def version_of_child(child: Resource) -> str:
    """Changes whenever somebody changes what we apply."""
    return str(child.meta.generation) if child.meta.generation else child.meta.resource_version


def _without_version(metadata: Mapping[str, Any]) -> Json:
    return {key: value for key, value in metadata.items() if key != "resourceVersion"}
