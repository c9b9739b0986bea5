"""The status of both kinds, from what was observed. Pure; nothing here knows when it will be written."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from switchboard_operator.binding import type_of
from switchboard_operator.checks import Fault, Proofs, callers_are_unproven, unresolved
from switchboard_operator.conditions import Claim, merge_conditions
from switchboard_operator.desired import selector_of
from switchboard_operator.hosting import Hosting, PoolHosting
from switchboard_operator.instances import MAX_INSTANCES, Instance, activity_of, count_instances, tell_instances
from switchboard_operator.objects import DEPLOYMENT, Raw, Resource
from switchboard_operator.snapshot import AgentSnapshot, NodeSnapshot

Status = dict[str, Any]
PROVEN = Proofs()


def build_node_status(
    snapshot: NodeSnapshot,
    fault: Fault | None,
    desired: int,
    instances: Sequence[Instance],
    now: str,
    *,
    has_changed: bool = False,
) -> Status:
    """The status of an AgentNode. desired: the number of pods that it is to have; now: RFC 3339.

    has_changed: its Deployment has been changed since the snapshot.
    """
    node, deployment = snapshot.node, _deployment(snapshot)
    seen = deployment.status if deployment is not None else {}
    progressing = _progressing(node, deployment, desired, has_changed=has_changed)
    claims = [_accepted(fault), progressing, _ready(snapshot, fault, desired)]
    listed = tell_instances(instances, node.status, now)
    return {
        "observedGeneration": node.meta.generation,
        "conditions": merge_conditions(node.status.get("conditions") or (), claims, node.meta.generation, now),
        "replicas": seen.get("replicas", 0),
        "readyReplicas": seen.get("readyReplicas", 0),
        "selector": selector_of(node),
        "agents": len(snapshot.agents),
        "counts": count_instances(instances),
        "activity": activity_of(instances),
        "instances": listed,
        "truncated": len(instances) > MAX_INSTANCES,
    }


def build_agent_status(
    snapshot: AgentSnapshot,
    fault: Fault | None,
    pools: Mapping[str, PoolHosting],
    now: str,
    proofs: Proofs = PROVEN,
) -> Status:
    """The status of an Agent. pools: by AgentNode. proofs: what callers of this installation can prove."""
    agent = snapshot.agent
    missing = unresolved(snapshot)
    hosting = _hosting(agent, pools)
    warning = callers_are_unproven(snapshot, proofs)
    claims = [
        _accepted(fault, warning),
        Claim("ResolvedRefs", False, missing.reason, missing.message)
        if missing
        else Claim("ResolvedRefs", True, "ResolvedRefs", ""),
        _agent_ready(snapshot, fault, missing, hosting),
    ]
    nodes = [node.meta.name for node in snapshot.nodes]
    status: Status = {
        "observedGeneration": agent.meta.generation,
        "conditions": merge_conditions(agent.status.get("conditions") or (), claims, agent.meta.generation, now),
        "type": type_of(agent),
        "nodes": nodes[:64],
        "instances": hosting.instances,
        "readyInstances": hosting.ready,
    }
    if nodes:
        status["node"] = nodes[0] if len(nodes) == 1 else f"{nodes[0]} +{len(nodes) - 1}"
    return status


def patch_of(before: Raw, after: Status) -> Status | None:
    """The merge patch from one status to the other; None when there is nothing to write."""
    patch: Status = {key: value for key, value in after.items() if before.get(key) != value}
    patch |= {key: None for key in before if key not in after}
    return patch or None


def has_rolled_out(deployment: Resource, desired: int) -> bool:
    """Whether every pod is of the newest template and available."""
    seen = deployment.status
    if seen.get("observedGeneration", 0) < deployment.meta.generation:
        return False
    updated, total = seen.get("updatedReplicas", 0), seen.get("replicas", 0)
    return bool(updated == total == desired and seen.get("availableReplicas", 0) >= desired)


def _hosting(agent: Resource, pools: Mapping[str, PoolHosting]) -> Hosting:
    found = sum((pool.of(agent.meta.name) for pool in pools.values()), Hosting())
    # Where an instance has not said yet what it hosts, what was true before the operator began is taken for true
    before: int = agent.status.get("readyInstances", 0)
    return replace(found, ready=max(found.ready, min(before, found.ready + found.unknown)))


def _agent_ready(snapshot: AgentSnapshot, fault: Fault | None, missing: Fault | None, hosting: Hosting) -> Claim:
    if fault or missing:
        reason = "NotAccepted" if fault else "Unresolved"
        return Claim("Ready", False, reason, (fault or missing or Fault("", "")).message)
    if hosting.ready:
        failed = f"; failed {hosting.failure}" if hosting.failure else ""
        return Claim("Ready", True, "Serving", f"ready on {hosting.ready} of {hosting.instances} instances{failed}")
    if hosting.failure:
        return Claim("Ready", False, "HandlerFailed", f"{hosting.failure}; correct the code or spec.handler")
    if snapshot.nodes and all(_is_scaled_to_zero(node) for node in snapshot.nodes):
        return Claim("Ready", True, "ScaledToZero", "its AgentNodes have no instances, as asked")
    names = ", ".join(node.meta.name for node in snapshot.nodes) or snapshot.agent.meta.name
    return Claim("Ready", False, "NoReadyInstance", f"no instance of AgentNode {names} has it ready yet")


def _is_scaled_to_zero(node: Resource) -> bool:
    conditions = node.status.get("conditions") or ()
    return any(c["type"] == "Ready" and c.get("reason") == "ScaledToZero" for c in conditions)


def _accepted(fault: Fault | None, warning: Fault | None = None) -> Claim:
    if fault is None and warning is not None:
        return Claim("Accepted", True, warning.reason, warning.message)
    if fault is None:
        return Claim("Accepted", True, "Accepted")
    return Claim("Accepted", False, fault.reason, fault.message)


def _progressing(node: Resource, deployment: Resource | None, desired: int, *, has_changed: bool) -> Claim:
    if node.meta.is_paused:
        return Claim("Progressing", False, "Paused", "the annotation switchboard.dev/paused keeps all as it is")
    if deployment is None:
        return Claim("Progressing", True, "Creating", "the Deployment does not exist yet")
    seen = deployment.status
    updated, total = seen.get("updatedReplicas", 0), seen.get("replicas", 0)
    if has_changed or seen.get("observedGeneration", 0) < deployment.meta.generation:
        # What its status tells, a stall too, is of the template of before
        is_unknown = updated >= desired
        message = "the Deployment has just changed" if is_unknown else _count_updated(updated, desired)
        return Claim("Progressing", True, "RollingOut", message)
    for condition in seen.get("conditions") or ():
        if condition["type"] == "Progressing" and condition.get("reason") == "ProgressDeadlineExceeded":
            return Claim("Progressing", False, "Stalled", condition.get("message", ""))
    if has_rolled_out(deployment, desired):
        return Claim("Progressing", False, "Complete", _count_updated(total, desired))
    return Claim("Progressing", True, "RollingOut", _count_updated(updated, desired))


def _count_updated(updated: int, desired: int) -> str:
    return f"{updated} of {desired} instances are of the newest template"


def _ready(snapshot: NodeSnapshot, fault: Fault | None, desired: int) -> Claim:
    deployment = _deployment(snapshot)
    if deployment is None:
        return Claim("Ready", False, fault.reason if fault else "Creating", fault.message if fault else "")
    ready = deployment.status.get("readyReplicas", 0)
    if desired == 0 and deployment.spec.get("replicas", 1) == 0:
        return Claim("Ready", True, "ScaledToZero", "no instances, as asked")
    if ready and ready >= desired:  # for a moment more than desired: a pool that shrinks or falls asleep stays ready
        return Claim("Ready", True, "InstancesReady", f"{ready} of {desired} instances are ready")
    return Claim("Ready", False, *_why_not_ready(snapshot, deployment, ready, desired))


def _why_not_ready(snapshot: NodeSnapshot, deployment: Resource, ready: int, desired: int) -> tuple[str, str]:
    count = f"{ready} of {desired} instances are ready"
    for condition in deployment.status.get("conditions") or ():
        if condition["type"] == "ReplicaFailure" and condition["status"] == "True":
            return "PodsRefused", f"{count}; {condition.get('message', '')}"
    waiting = next((f"{pod.name}: {pod.waiting}" for pod in snapshot.pods if pod.waiting), "")
    return "InstancesNotReady", f"{count}; {waiting}" if waiting else count


def _deployment(snapshot: NodeSnapshot) -> Resource | None:
    child = snapshot.children.get(DEPLOYMENT)
    return child if child is not None and child.meta.owner_uid == snapshot.node.meta.uid else None
