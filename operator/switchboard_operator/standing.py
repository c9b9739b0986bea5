"""From what the plan of an AgentNode follows, in short: as long as that stays, nothing need be planned anew. Pure."""

from dataclasses import dataclass

from switchboard_operator.objects import DEPLOYMENT
from switchboard_operator.plan import Context, version_of_child
from switchboard_operator.replicas import Replicas
from switchboard_operator.shrink import CHOSEN
from switchboard_operator.snapshot import NodeSnapshot


@dataclass(frozen=True, slots=True)
class Standing:
    """Equal standings have equal plans. work: the Agents whose assignments these are; None: others than are bound."""

    rest: tuple[object, ...]
    work: tuple[object, ...] | None


def standing_of(snapshot: NodeSnapshot, replicas: Replicas, context: Context) -> Standing | None:
    """The standing of an AgentNode; None when its plan follows from more: it shrinks, wakes, or takes turns."""
    node, deployment = snapshot.node, snapshot.children.get(DEPLOYMENT)
    if deployment is None or replicas.scale is not None or deployment.spec.get("replicas") != replicas.deployment:
        return None
    if (node.spec.get("sidecar") or {}).get("upgradePolicy") == "Rolling":
        return None
    if any(pod.deletion_cost == CHOSEN for pod in snapshot.pods):
        return None
    children = [
        (kind, child.meta.uid, child.meta.owner_uid, version_of_child(child), child.meta.annotations)
        for kind, child in sorted(snapshot.children.items())
    ]
    of_node = (node.meta.uid, node.meta.generation, node.meta.labels, node.meta.annotations)
    given = (context.images, context.around, context.source, context.ca_bundle, context.settled)
    return Standing(
        rest=(of_node, children, replicas, given),
        work=work_of(snapshot),
    )


def work_of(snapshot: NodeSnapshot) -> tuple[object, ...]:
    """From what the assignments of the AgentNode follow, but for its own spec."""
    return tuple((agent.meta.uid, agent.meta.generation) for agent in snapshot.agents), snapshot.reserved
