"""From an object to the keys under which the indexes keep it. Pure."""

from collections.abc import Callable, Mapping
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
    return {(node.meta.namespace, node.meta.name): node}


def _node_in(body: Raw) -> Mapping[Any, Any]:
    node = read_resource(names.AGENT_NODE, body)
    return {node.meta.namespace: node}


def _agent(body: Raw) -> Mapping[Any, Any]:
    agent = read_resource(names.AGENT, body)
    return {(agent.meta.namespace, agent.meta.name): agent}


def _claim(body: Raw) -> Mapping[Any, Any]:
    agent = read_resource(names.AGENT, body)
    return {(agent.meta.namespace, type_of(agent)): claim_of(agent)}


def _agent_naming(body: Raw) -> Mapping[Any, Any]:
    agent = read_resource(names.AGENT, body)
    node = node_named_by(agent)
    return {(agent.meta.namespace, node): agent} if node else {}


def _agent_selecting(body: Raw) -> Mapping[Any, Any]:
    agent = read_resource(names.AGENT, body)
    return {agent.meta.namespace: agent} if agent.spec.get("nodeSelector") is not None else {}


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


# Name of the index, what is watched for it, and its keys
INDEXES: Final[tuple[tuple[str, Address, Keys], ...]] = (
    ("nodes", NODES, _node),
    ("nodes_in", NODES, _node_in),
    ("agents", AGENTS, _agent),
    ("claims", AGENTS, _claim),
    ("agents_naming", AGENTS, _agent_naming),
    ("agents_selecting", AGENTS, _agent_selecting),
    *((f"children_{kind}", address, _child(kind)) for kind, address in CHILDREN.items()),
    ("pods", PODS, _pod),
    ("zones", SLICES, _zones),
)
