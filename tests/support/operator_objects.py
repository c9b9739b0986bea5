"""Factories of what the operator observes, and a world in which its plans come true."""

import copy
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from switchboard_operator.objects import (
    AUTOSCALER,
    Meta,
    Pod,
    Resource,
    read_resource,
)
from switchboard_operator.plan import Action, Apply, Context, Remove, Scale
from switchboard_operator.pod import Images, Surroundings
from switchboard_operator.registry import HostedState, Record
from switchboard_operator.shrink import Mark
from switchboard_operator.snapshot import AgentSnapshot, NodeSnapshot
from switchboard_wire import names

AROUND = Surroundings("links.system.svc:7410", "registry.system.svc:7420", "IfNotPresent")
IMAGES = Images(sidecar="sidecar:1", host="host:1")
CONTEXT = Context(IMAGES, AROUND)
NOW = "2026-11-21T12:00:00Z"


def make_meta(name: str = "writers", **fields: Any) -> Meta:
    """Metadata of an object of namespace `ns`, with its name as part of its UID."""
    values: dict[str, Any] = {
        "namespace": "ns",
        "name": name,
        "uid": f"uid-{name}",
        "generation": 1,
        "resource_version": "10",
        "created": "2026-11-01T00:00:00Z",
        "deleting": False,
        "labels": {},
        "annotations": {},
        "owner_kind": "",
        "owner_name": "",
        "owner_uid": "",
    }
    return Meta(**(values | fields))


def make_node(
    name: str = "writers", *, status: Mapping[str, Any] | None = None, meta: Meta | None = None, **spec: Any
) -> Resource:
    """An AgentNode; keyword arguments are its spec."""
    return Resource(names.AGENT_NODE, meta or make_meta(name), {"replicas": 2, **spec}, status or {}, {})


def make_agent(name: str = "summarizer", *, meta: Meta | None = None, **spec: Any) -> Resource:
    """An Agent on `writers`; keyword arguments are its spec."""
    placed = spec if {"node", "nodeSelector"} & set(spec) else {"nodeRef": {"name": "writers"}} | spec
    return Resource(names.AGENT, meta or make_meta(name), placed, {}, {})


def make_child(kind: str, owner: Resource, name: str = "", **fields: Any) -> Resource:
    """A child of the owner; `spec`, `status`, `data`, and further metadata as keyword arguments."""
    parts = {part: fields.pop(part, {}) for part in ("spec", "status", "data")}
    meta = make_meta(
        name or owner.meta.name,
        **{"owner_kind": owner.kind, "owner_name": owner.meta.name, "owner_uid": owner.meta.uid, **fields},
    )
    return Resource(kind, meta, parts["spec"], parts["status"], parts["data"])


def make_pod(name: str = "writers-a", **fields: Any) -> Pod:
    """A running pod of `writers`."""
    values: dict[str, Any] = {
        "namespace": "ns",
        "name": name,
        "uid": f"uid-{name}",
        "node": "writers",
        "address": "10.0.0.1",
        "node_name": "node-1",
        "zone": "",
        "created": "2026-11-01T00:00:00Z",
        "ready": True,
        "deleting": False,
        "finished": False,
        "running": True,
        "deletion_cost": "",
        "waiting": "",
        "labels": {},
    }
    return Pod(**(values | fields))


def make_record(pod: str = "writers-a", *, heard: float = 100.0, **fields: Any) -> Record:
    """What the sidecar of a pod of `writers` last said."""
    values: dict[str, Any] = {
        "pool": ("ns", "writers"),
        "instance": pod,
        "pod_uid": f"uid-{pod}",
        "version": "0.1.0",
        "heard": heard,
        "ready": True,
        "agents": (HostedState("summarizer", "Ready"),),
    }
    return Record(**(values | fields))


def make_snapshot(
    node: Resource | None = None,
    *,
    children: Iterable[Resource] = (),
    pods: Iterable[Pod] = (),
    agents: Iterable[Resource] = (),
) -> NodeSnapshot:
    """What a reconcile of an AgentNode sees."""
    return NodeSnapshot(
        node=node or make_node(),
        children={child.kind: child for child in children},
        pods=tuple(pods),
        zones={},
        agents=tuple(agents),
    )


def make_agent_snapshot(agent: Resource | None = None, *nodes: Resource, **fields: Any) -> AgentSnapshot:
    """What a reconcile of an Agent sees."""
    values: dict[str, Any] = {"rival": None, "own_node": None, "pods": {node.meta.name: () for node in nodes}}
    return AgentSnapshot(agent=agent or make_agent(), nodes=nodes, **(values | fields))


def come_true(snapshot: NodeSnapshot, actions: Iterable[Action]) -> NodeSnapshot:
    """The snapshot after an API server has done what the actions say."""
    node, children = snapshot.node, dict(snapshot.children)
    pods = {pod.uid: pod for pod in snapshot.pods}
    for action in actions:
        match action:
            case Apply():
                children[action.kind] = _applied(action.manifest, children.get(action.kind))
            case Remove():
                del children[action.kind]
            case Scale():
                spec = {**node.spec, "replicas": action.replicas}
                node = Resource(node.kind, node.meta, spec, node.status, node.data)
            case Mark():
                pods[action.pod.uid] = replace(action.pod, deletion_cost=action.cost or "")
    return NodeSnapshot(node, children, tuple(pods.values()), snapshot.zones, snapshot.agents)


def _applied(manifest: Mapping[str, Any], held: Resource | None) -> Resource:
    body = copy.deepcopy(dict(manifest))
    version = int(held.meta.resource_version) + 1 if held else 1
    body["metadata"] |= {"uid": f"uid-{body['kind']}", "resourceVersion": str(version), "generation": version}
    return read_resource(body["kind"], body)


def replicas_of(snapshot: NodeSnapshot) -> int:
    """The number of pods that the Deployment asks for."""
    number: int = snapshot.children["Deployment"].spec["replicas"]
    return number


def is_autoscaled(snapshot: NodeSnapshot) -> bool:
    """Whether there is an HPA."""
    return AUTOSCALER in snapshot.children
