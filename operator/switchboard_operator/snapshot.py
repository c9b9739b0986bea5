"""Everything that one reconcile looks at, taken at one moment from the indexes. Pure: indexes are mappings here."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeVar

from switchboard_operator.binding import node_named_by, rival_of, selects, type_of
from switchboard_operator.objects import Pod, Resource
from switchboard_routing.binding import Claim

# They go into a ConfigMap, which holds 1 MiB
MAX_RESERVED: Final = 5000

Name = tuple[str, str]  # namespace, name
K = TypeVar("K")
V = TypeVar("V")
ChildName = tuple[str, str, str]  # namespace, kind, name


@dataclass(frozen=True, slots=True)
class Indexes:
    """The watched objects, each index from a key to all that has it."""

    nodes: Mapping[Name, Collection[Resource]] = field(default_factory=dict)
    nodes_in: Mapping[str, Collection[Resource]] = field(default_factory=dict)
    agents: Mapping[Name, Collection[Resource]] = field(default_factory=dict)
    claims: Mapping[Name, Collection[Claim]] = field(default_factory=dict)  # by namespace and type
    agents_naming: Mapping[Name, Collection[Resource]] = field(default_factory=dict)  # by the AgentNode's name
    agents_selecting: Mapping[str, Collection[Resource]] = field(default_factory=dict)  # by namespace
    children: Mapping[ChildName, Collection[Resource]] = field(default_factory=dict)
    pods: Mapping[Name, Collection[Pod]] = field(default_factory=dict)  # by the AgentNode's name
    zones: Mapping[Name, Collection[Mapping[str, str]]] = field(default_factory=dict)  # by the AgentNode's name


@dataclass(frozen=True, slots=True)
class NodeSnapshot:
    """An AgentNode with all that belongs to it. `children` by kind; those of another owner are among them."""

    node: Resource
    children: Mapping[str, Resource]
    pods: tuple[Pod, ...]
    zones: Mapping[str, str]
    agents: tuple[Resource, ...]  # bound to it and not in conflict, by name
    reserved: tuple[str, ...] = ()  # types of other Agents of the namespace, for an AgentNode whose code registers some


@dataclass(frozen=True, slots=True)
class AgentSnapshot:
    """An Agent with the AgentNodes on which it runs, by name. `own_node`: the AgentNode called as it is."""

    agent: Resource
    rival: Claim | None
    nodes: tuple[Resource, ...]
    own_node: Resource | None
    pods: Mapping[str, tuple[Pod, ...]]  # by AgentNode


def child_names(node: str) -> Mapping[str, str]:
    """What the children of an AgentNode are called, by kind."""
    return {
        "Deployment": node,
        "HorizontalPodAutoscaler": node,
        "Service": node,
        "ServiceAccount": node,
        "PodDisruptionBudget": node,
        "ConfigMap": f"{node}-assignments",
    }


def node_snapshot(indexes: Indexes, namespace: str, name: str) -> NodeSnapshot | None:
    """The AgentNode and what belongs to it; None when it is gone."""
    node = _only(indexes.nodes, (namespace, name))
    if node is None:
        return None
    found = {kind: _only(indexes.children, (namespace, kind, called)) for kind, called in child_names(name).items()}
    zones: dict[str, str] = {}
    for slice_zones in indexes.zones.get((namespace, name), ()):
        zones |= slice_zones
    agents = tuple(agent for agent in bound_agents(indexes, node) if _wins(indexes, agent))
    return NodeSnapshot(
        node=node,
        children={kind: child for kind, child in found.items() if child is not None},
        pods=tuple(sorted(indexes.pods.get((namespace, name), ()), key=lambda pod: pod.name)),
        zones=zones,
        agents=agents,
        reserved=_reserved(indexes, node, agents),
    )


def look_at_node(
    indexes: Indexes, namespace: str, name: str, rolling: Name | None
) -> tuple[NodeSnapshot | None, tuple[str, ...], bool]:
    """The AgentNode, the names of all Agents bound to it, and whether the pool that takes a new release is gone."""
    snapshot = node_snapshot(indexes, namespace, name)
    bound = bound_agents(indexes, snapshot.node) if snapshot else ()
    return snapshot, tuple(agent.meta.name for agent in bound), rolling is not None and not indexes.nodes.get(rolling)


def agent_snapshot(indexes: Indexes, namespace: str, name: str) -> AgentSnapshot | None:
    """The Agent and where it runs; None when it is gone."""
    agent = _only(indexes.agents, (namespace, name))
    if agent is None:
        return None
    nodes = nodes_of(indexes, agent)
    return AgentSnapshot(
        agent=agent,
        rival=rival_of(agent, indexes.claims.get((namespace, type_of(agent)), ())),
        nodes=nodes,
        own_node=_only(indexes.nodes, (namespace, name)),
        pods={node.meta.name: tuple(indexes.pods.get((namespace, node.meta.name), ())) for node in nodes},
    )


def bound_agents(indexes: Indexes, node: Resource) -> tuple[Resource, ...]:
    """Every Agent that names or selects this AgentNode, in conflict or not, by name."""
    namespace = node.meta.namespace
    naming = [agent for agent in indexes.agents_naming.get((namespace, node.meta.name), ()) if _names(agent, node)]
    selecting = [
        agent
        for agent in indexes.agents_selecting.get(namespace, ())
        if selects(agent.spec["nodeSelector"], node.meta.labels)
    ]
    return tuple(sorted((*naming, *selecting), key=lambda agent: agent.meta.name))


def nodes_of(indexes: Indexes, agent: Resource) -> tuple[Resource, ...]:
    """The AgentNodes on which this Agent is to run, by name."""
    namespace = agent.meta.namespace
    if (selector := agent.spec.get("nodeSelector")) is not None:
        found = [node for node in indexes.nodes_in.get(namespace, ()) if selects(selector, node.meta.labels)]
        return tuple(sorted(found, key=lambda node: node.meta.name))
    node = _only(indexes.nodes, (namespace, node_named_by(agent)))
    return (node,) if node is not None and _names(agent, node) else ()


def _reserved(indexes: Indexes, node: Resource, agents: Iterable[Resource]) -> tuple[str, ...]:
    if node.spec.get("registration") != "Dynamic":
        return ()
    own = {type_of(agent) for agent in agents}
    types = {type_ for namespace, type_ in indexes.claims if namespace == node.meta.namespace}
    return tuple(sorted(types - own))[:MAX_RESERVED]


def _names(agent: Resource, node: Resource) -> bool:
    """An inline AgentNode is the Agent's own: one that merely has its name is not."""
    return agent.spec.get("node") is None or node.meta.owner_uid == agent.meta.uid


def _wins(indexes: Indexes, agent: Resource) -> bool:
    if agent.meta.deleting:
        return False
    claims = indexes.claims.get((agent.meta.namespace, type_of(agent)), ())
    return len(claims) == 1 or rival_of(agent, claims) is None  # alone it is its own claim


def _only(index: Mapping[K, Collection[V]], key: K) -> V | None:
    return next(iter(index.get(key, ())), None)
