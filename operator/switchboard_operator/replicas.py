"""How many pods an AgentNode has right now. The operator alone writes Deployment.spec.replicas."""

from dataclasses import dataclass
from typing import Final

from switchboard_operator.demand import NOTHING, Demand
from switchboard_operator.objects import AUTOSCALER, DEPLOYMENT, Resource
from switchboard_operator.snapshot import NodeSnapshot

# As in the schema
DEFAULT_IDLE_S: Final = 300


@dataclass(frozen=True, slots=True)
class Replicas:
    """`deployment` is what the Deployment gets; `scale`, when given, is first written to AgentNode/scale."""

    deployment: int
    scale: int | None = None


def choose_replicas(snapshot: NodeSnapshot, demand: Demand = NOTHING) -> Replicas:
    """The number for the Deployment.

    Fixed: spec.replicas. Autoscaled: spec.replicas, which the HPA writes through /scale, within its bounds. Where it
    cannot be the HPA's wish (there is no HPA yet, or it is outside of the bounds), it is nobody's: a user who removes
    `replicas` gets the schema's default of 1. Then the pods that run count, and /scale is told so before all else.
    Between 0 and 1 the operator decides, by the demand: an HPA stands still at 0 and never goes there.
    """
    node, wanted = snapshot.node, snapshot.node.spec.get("replicas", 1)
    scaling = node.spec.get("autoscaling")
    if not scaling:
        return Replicas(wanted)
    low, high = scaling.get("minReplicas", 2), scaling.get("maxReplicas", 10)
    if low == 0 and (asleep := _sleep_or_wake(wanted, demand, idle_limit_s(node) or DEFAULT_IDLE_S)):
        return asleep
    if _owned(snapshot, AUTOSCALER) is not None and low <= wanted <= high:
        return Replicas(wanted)
    deployment = _owned(snapshot, DEPLOYMENT)
    running = deployment.spec.get("replicas", 1) if deployment is not None else wanted
    start = max(low, min(high, running))
    return Replicas(start, scale=start if start != wanted else None)


def idle_limit_s(node: Resource) -> int | None:
    """After how long without work the pool sleeps; None: never."""
    scaling = node.spec.get("autoscaling")
    if not scaling or scaling.get("minReplicas", 2) != 0:
        return None
    limit: int = scaling.get("idleSeconds", DEFAULT_IDLE_S)
    return limit


def _sleep_or_wake(wanted: int, demand: Demand, limit_s: int) -> Replicas | None:
    if wanted == 0 and demand.held:
        return Replicas(1, scale=1)
    if wanted > 0 and demand.idle_s >= limit_s:
        return Replicas(0, scale=0)
    return None


def _owned(snapshot: NodeSnapshot, kind: str) -> Resource | None:
    child = snapshot.children.get(kind)
    return child if child is not None and child.meta.owner_uid == snapshot.node.meta.uid else None
