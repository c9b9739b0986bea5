"""Why an object cannot be accepted: an ordered chain of faults. The first that holds gives the condition.

A fault is a sentence for the user with its remedy, or None. Checks are named after the fault that they look for.
"""

from dataclasses import dataclass

from pydantic import ValidationError

from switchboard.resources import Agent, AgentNode, explain_faults
from switchboard_operator.objects import CHILD_KINDS, Resource
from switchboard_operator.signals import Source, work_signals
from switchboard_operator.snapshot import AgentSnapshot, NodeSnapshot
from switchboard_routing.callers import is_user
from switchboard_wire import names


@dataclass(frozen=True, slots=True)
class Fault:
    """Why not: a CamelCase reason that programs compare, and a message that says what to do."""

    reason: str
    message: str


def check_node(snapshot: NodeSnapshot, source: Source = Source.CUSTOM) -> Fault | None:
    """The first fault of an AgentNode that can be seen before anything is written."""
    return spec_is_unreadable(snapshot) or signal_is_not_served(snapshot, source) or name_is_taken(snapshot)


def name_is_taken(snapshot: NodeSnapshot) -> Fault | None:
    """Somebody else has made an object that is called as one of the children."""
    for kind in CHILD_KINDS:
        child = snapshot.children.get(kind)
        if child is not None and is_foreign(child, snapshot.node):
            return conflict_with(kind, child.meta.name)
    return None


def conflict_with(kind: str, name: str) -> Fault:
    """The fault of a child whose name somebody else has taken."""
    return Fault(
        "NameConflict",
        f"{kind} {name} exists and is not this AgentNode's: delete or rename it, or give the AgentNode another name",
    )


def spec_is_unreadable(snapshot: NodeSnapshot) -> Fault | None:
    """The spec does not fit the model: it was written past the CRD's rules, or by a newer version."""
    node = snapshot.node
    return _unreadable(AgentNode, names.AGENT_NODE, node)


def signal_is_not_served(snapshot: NodeSnapshot, source: Source) -> Fault | None:
    """The autoscaler is asked for the work of the pool, and no API tells it."""
    asked = list(work_signals(snapshot.node))
    if not asked or source is not Source.NONE:
        return None
    return Fault(
        "UnsupportedSignal",
        f"spec.autoscaling.{asked[0]} needs a metrics API, and both are switched off: set metricsApi.custom or "
        "metricsApi.external to Always in the values of the chart, or use cpuUtilization and memoryUtilization",
    )


def is_foreign(child: Resource, owner: Resource) -> bool:
    """Whether somebody else made it. What a former object of the owner's name left behind is about to be collected."""
    return child.meta.owner_uid != owner.meta.uid and not is_leftover(child, owner)


def is_leftover(child: Resource, owner: Resource) -> bool:
    """Whether it belongs to a deleted object of the same kind and name, so that the garbage collector takes it."""
    meta = child.meta
    same_name = meta.owner_kind == owner.kind and meta.owner_name == owner.meta.name
    return bool(meta.owner_uid) and meta.owner_uid != owner.meta.uid and same_name


def check_agent(snapshot: AgentSnapshot) -> Fault | None:
    """The first fault of an Agent."""
    for check in (agent_is_unreadable, id_is_taken, inline_name_is_taken):
        if fault := check(snapshot):
            return fault
    return None


def agent_is_unreadable(snapshot: AgentSnapshot) -> Fault | None:
    """The spec does not fit the model."""
    return _unreadable(Agent, names.AGENT, snapshot.agent)


def id_is_taken(snapshot: AgentSnapshot) -> Fault | None:
    """An older Agent of the namespace has the same type and version."""
    if (rival := snapshot.rival) is None:
        return None
    agent_type = snapshot.agent.spec.get("type") or snapshot.agent.meta.name
    return Fault(
        "AgentIdConflict",
        f"Agent {rival.name} is older and has type {agent_type} and version {rival.version} too: "
        "give this one another type, or another version to share the traffic by weight, or delete one",
    )


def inline_name_is_taken(snapshot: AgentSnapshot) -> Fault | None:
    """The Agent has an inline AgentNode, and another AgentNode has its name."""
    agent, node = snapshot.agent, snapshot.own_node
    if agent.spec.get("node") is None or node is None or not is_foreign(node, agent):
        return None
    return Fault(
        "NameConflict",
        f"AgentNode {node.meta.name} exists and is not this Agent's: name it in spec.nodeRef instead of spec.node, "
        "or give the Agent another name",
    )


@dataclass(frozen=True, slots=True)
class Proofs:
    """Of whom gateways know who they are: of agents' pods (tls.enabled), of clients (gateway.auth)."""

    pods: bool = True
    clients: bool = True


def callers_are_unproven(snapshot: AgentSnapshot, proofs: Proofs) -> Fault | None:
    """Only some may call the Agent, and some or all of them cannot prove to be who they are: a warning.

    A user is always a client. A ServiceAccount may be a pod's or a client's: it counts as proven where pods are, by
    default, or lists of agents alone would bear a warning that nobody can do away with.
    """
    named = snapshot.agent.spec.get("allowedCallers") or ()
    users = [caller for caller in named if is_user(caller)]
    accounts = len(users) < len(named)
    if (proofs.clients or not users) and (proofs.pods or not accounts):
        return None
    for_pods, for_clients = "tls.enabled (for agents' pods)", "gateway.auth: kubernetes (for clients)"
    if not proofs.clients and not (accounts and proofs.pods):
        setting = f"{for_pods}, {for_clients}, or both" if accounts else for_clients
        message = f"nobody can call it: spec.allowedCallers asks who calls, and nothing proves it; set {setting}"
    elif proofs.pods:
        message = f"agents alone can call it: {users[0]} is a client, and clients prove nothing; set {for_clients}"
    else:
        message = f"clients alone can call it: agents' pods prove nothing; set {for_pods}, if agents are to call it"
    return Fault("CallersUnproven", f"{message} in the chart")


def unresolved(snapshot: AgentSnapshot) -> Fault | None:
    """What the Agent's placement names and is not there."""
    agent = snapshot.agent
    if snapshot.nodes or agent.spec.get("node") is not None:
        return None
    if agent.spec.get("nodeSelector") is not None:
        return Fault(
            "NoMatchingNodes",
            f"no AgentNode in namespace {agent.meta.namespace} has the labels of spec.nodeSelector: "
            "label one, or change the selector",
        )
    name = (agent.spec.get("nodeRef") or {}).get("name", "")
    return Fault(
        "NodeNotFound",
        f"AgentNode {name} does not exist in namespace {agent.meta.namespace}: create it, or change spec.nodeRef.name",
    )


def _unreadable(model: type[AgentNode] | type[Agent], kind: str, held: Resource) -> Fault | None:
    manifest = {
        "apiVersion": names.API_VERSION,
        "kind": kind,
        "metadata": {"name": held.meta.name, "namespace": held.meta.namespace},
        "spec": held.spec,
    }
    try:
        model.from_wire(manifest, prune=True)
    except ValidationError as error:
        return Fault("InvalidSpec", "; ".join(explain_faults(error))[:900] or "the spec does not fit the CRD")
    return None
