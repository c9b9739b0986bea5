"""From an object to the keys under which the indexes keep it. Pure."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from switchboard_operator.binding import claim_of, node_named_by, type_of
from switchboard_operator.objects import (
    ACCOUNT,
    AUTOSCALER,
    BUDGET,
    CONFIG_MAP,
    DEPLOYMENT,
    SERVICE,
    Raw,
    read_pod,
    read_resource,
    read_zones,
)
from switchboard_wire import names

Address = tuple[str, str, str]  # group, version, plural

# What AgentNodes own
CHILDREN: Final[Mapping[str, Address]] = {
    DEPLOYMENT: ("apps", "v1", "deployments"),
    AUTOSCALER: ("autoscaling", "v2", "horizontalpodautoscalers"),
    BUDGET: ("policy", "v1", "poddisruptionbudgets"),
    SERVICE: ("", "v1", "services"),
    CONFIG_MAP: ("", "v1", "configmaps"),
    ACCOUNT: ("", "v1", "serviceaccounts"),
}
PODS: Final[Address] = ("", "v1", "pods")
SLICES: Final[Address] = ("discovery.k8s.io", "v1", "endpointslices")
NODES: Final[Address] = (names.GROUP, names.VERSION, names.AGENT_NODES)
AGENTS: Final[Address] = (names.GROUP, names.VERSION, names.AGENTS)

Keys = Callable[[Raw], Mapping[Any, Any]]


def _node(body: Raw) -> Mapping[Any, Any]:
    node = read_resource(names.AGENT_NODE, body)
    namespace, name = node.meta.namespace, node.meta.name
    return {("nodes", (namespace, name)): node, ("nodes_in", namespace): node}


def _agent(body: Raw) -> Mapping[Any, Any]:
    agent = read_resource(names.AGENT, body)
    namespace = agent.meta.namespace
    found: dict[Any, Any] = {
        ("agents", (namespace, agent.meta.name)): agent,
        ("claims", (namespace, type_of(agent))): claim_of(agent),
    }
    if node := node_named_by(agent):
        found[("agents_naming", (namespace, node))] = agent
    if agent.spec.get("nodeSelector") is not None:
        found[("agents_selecting", namespace)] = agent
    return found


def _child(kind: str) -> Keys:
    def keys(body: Raw) -> Mapping[Any, Any]:
        child = read_resource(kind, body)
        return {(child.meta.namespace, kind, child.meta.name): child}

    return keys


def _pod(body: Raw) -> Mapping[Any, Any]:
    pod = read_pod(body)
    return {(pod.namespace, pod.node): pod}


def _zones(body: Raw) -> Mapping[Any, Any]:
    metadata = body["metadata"]
    return {(metadata["namespace"], (metadata.get("labels") or {}).get(names.NODE_LABEL, "")): read_zones(body)}


# Name of the index, what is watched for it, and its keys. One for each kind of object: kopf takes longer to call an
# indexer than that takes to read the object. Those of our own kinds hold several parts, named first in each key
INDEXES: Final[tuple[tuple[str, Address, Keys], ...]] = (
    ("of_nodes", NODES, _node),
    ("of_agents", AGENTS, _agent),
    *((f"children_{kind}", address, _child(kind)) for kind, address in CHILDREN.items()),
    ("pods", PODS, _pod),
    ("zones", SLICES, _zones),
)


class Part(Mapping[Any, Any]):
    """One part of an index, as an index of its own."""

    def __init__(self, whole: Mapping[Any, Any], name: str) -> None:
        self._whole, self._name = whole, name

    def __getitem__(self, key: Any) -> Any:
        return self._whole[(self._name, key)]

    def __contains__(self, key: object) -> bool:
        return (self._name, key) in self._whole

    def __iter__(self) -> Iterator[Any]:
        return (key for name, key in self._whole if name == self._name)

    def __len__(self) -> int:
        return sum(1 for _ in self)
