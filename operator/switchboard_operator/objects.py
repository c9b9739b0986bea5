"""What the operator keeps of the objects that it watches: frozen values read from plain dicts.

A value compares equal to the one before when nothing that matters has changed. Raw parts are never written to.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from switchboard_wire import names

Raw = Mapping[str, Any]

# Kinds that an AgentNode owns
DEPLOYMENT: Final = "Deployment"
AUTOSCALER: Final = "HorizontalPodAutoscaler"
SERVICE: Final = "Service"
CONFIG_MAP: Final = "ConfigMap"
ACCOUNT: Final = "ServiceAccount"
BUDGET: Final = "PodDisruptionBudget"
CHILD_KINDS: Final = (ACCOUNT, CONFIG_MAP, SERVICE, BUDGET, DEPLOYMENT, AUTOSCALER)


@dataclass(frozen=True, slots=True)
class Meta:
    """The part of metadata that decisions need."""

    namespace: str
    name: str
    uid: str
    generation: int
    resource_version: str
    created: str
    deleting: bool
    labels: Raw
    annotations: Raw
    owner_kind: str  # of the controlling owner; empty without one
    owner_name: str
    owner_uid: str

    @property
    def is_paused(self) -> bool:
        """The user asked that nothing be changed."""
        return str(self.annotations.get(names.PAUSED_ANNOTATION, "false")).lower() not in ("", "false")


@dataclass(frozen=True, slots=True)
class Resource:
    """A watched object: metadata, and the parts of the body that decisions need."""

    kind: str
    meta: Meta
    spec: Raw
    status: Raw
    data: Raw  # of a ConfigMap


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod of an AgentNode."""

    namespace: str
    name: str
    uid: str
    node: str  # AgentNode
    address: str
    node_name: str
    zone: str
    created: str
    ready: bool
    deleting: bool
    finished: bool  # it will never run again
    running: bool
    deletion_cost: str  # what the ReplicaSet controller goes by; empty: nothing is said
    waiting: str  # why a container does not start, for people
    labels: Raw


def read_meta(body: Raw) -> Meta:
    """The metadata of an object."""
    metadata = body["metadata"]
    owner: Raw = next((ref for ref in metadata.get("ownerReferences") or () if ref.get("controller")), {})
    return Meta(
        namespace=metadata.get("namespace", ""),
        name=metadata["name"],
        uid=metadata.get("uid", ""),
        generation=metadata.get("generation", 0),
        resource_version=metadata.get("resourceVersion", ""),
        created=metadata.get("creationTimestamp") or "",
        deleting="deletionTimestamp" in metadata,
        labels=metadata.get("labels") or {},
        annotations=metadata.get("annotations") or {},
        owner_kind=owner.get("kind", ""),
        owner_name=owner.get("name", ""),
        owner_uid=owner.get("uid", ""),
    )


def read_resource(kind: str, body: Raw) -> Resource:
    """An AgentNode, an Agent or a child, without managedFields."""
    return Resource(kind, read_meta(body), body.get("spec") or {}, body.get("status") or {}, body.get("data") or {})


def spec_concurrency(node: Resource) -> int:
    """How many messages an instance of the AgentNode may have in its host, as its spec says or by default."""
    return int(node.spec.get("concurrency", 16))


def read_pod(body: Raw) -> Pod:
    """A pod that carries the label of an AgentNode."""
    meta, status = read_meta(body), body.get("status") or {}
    ready = any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions") or ())
    return Pod(
        namespace=meta.namespace,
        name=meta.name,
        uid=meta.uid,
        node=str(meta.labels.get(names.NODE_LABEL, "")),
        address=status.get("podIP", ""),
        node_name=(body.get("spec") or {}).get("nodeName", ""),
        zone=str(meta.labels.get(names.ZONE_LABEL, "")),
        created=meta.created,
        ready=ready,
        deleting=meta.deleting,
        finished=status.get("phase") in ("Succeeded", "Failed"),
        running=status.get("phase") == "Running",
        deletion_cost=str(meta.annotations.get(names.DELETION_COST_ANNOTATION, "")),
        waiting=_waiting(status),
        labels=meta.labels,
    )


def read_zones(body: Raw) -> dict[str, str]:
    """Zones by pod UID, of an EndpointSlice."""
    endpoints = body.get("endpoints") or ()
    return {
        endpoint["targetRef"]["uid"]: endpoint["zone"]
        for endpoint in endpoints
        if endpoint.get("zone") and (endpoint.get("targetRef") or {}).get("uid")
    }


# A container that waits for these needs nobody's attention
_NORMAL_WAITS = frozenset({"ContainerCreating", "PodInitializing"})


def _waiting(status: Raw) -> str:
    containers = [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]
    for container in containers:
        waiting = (container.get("state") or {}).get("waiting") or {}
        if waiting.get("reason") and waiting["reason"] not in _NORMAL_WAITS:
            text = f"container {container['name']}: {waiting['reason']}"
            return f"{text}: {waiting['message']}" if waiting.get("message") else text
    for condition in status.get("conditions") or ():
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return f"not scheduled: {condition.get('message', '')}"
    return ""
