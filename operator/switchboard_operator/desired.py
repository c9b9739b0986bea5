"""The children of an AgentNode as manifests. One builder each, no I/O."""

from collections.abc import Mapping
from typing import Any, Final

from switchboard_operator.digest import digest_of
from switchboard_operator.objects import (
    ACCOUNT,
    AUTOSCALER,
    BUDGET,
    CONFIG_MAP,
    DEPLOYMENT,
    SERVICE,
    Resource,
)
from switchboard_operator.pod import Images, Surroundings, build_template, pod_labels
from switchboard_operator.signals import Source, build_metrics
from switchboard_operator.snapshot import child_names
from switchboard_wire import names

Json = dict[str, Any]

_API_VERSIONS: Final[Mapping[str, str]] = {
    DEPLOYMENT: "apps/v1",
    AUTOSCALER: "autoscaling/v2",
    SERVICE: "v1",
    CONFIG_MAP: "v1",
    ACCOUNT: "v1",
    BUDGET: "policy/v1",
    names.AGENT_NODE: names.API_VERSION,
}

# Enough to roll back by hand; every one is a ReplicaSet that all watchers carry
REVISIONS_KEPT: Final = 3
# Twice as many in 15 s when work comes; a tenth fewer each minute, after five calm ones
SCALE_UP: Final = {
    "stabilizationWindowSeconds": 0,
    "selectPolicy": "Max",
    "policies": [
        {"type": "Percent", "value": 100, "periodSeconds": 15},
        {"type": "Pods", "value": 4, "periodSeconds": 15},
    ],
}
SCALE_DOWN: Final = {
    "stabilizationWindowSeconds": 300,
    "selectPolicy": "Max",
    "policies": [
        {"type": "Percent", "value": 10, "periodSeconds": 60},
        {"type": "Pods", "value": 1, "periodSeconds": 60},
    ],
}
# Stands for an image that the operator decides, in the digest that tells whether the user's part has changed
_ANY_IMAGE: Final = Images(sidecar="*", host="*")


def template_digest(node: Resource, around: Surroundings) -> str:
    """Changes with the pod template, but not with the images that a release of the operator brings."""
    own_sidecar = (node.spec.get("sidecar") or {}).get("image") or ""
    return digest_of([own_sidecar, build_template(node.meta.name, node.spec, _ANY_IMAGE, around)])


def choose_images(
    node: Resource, deployment: Resource | None, newest: Images, around: Surroundings, *, may_roll: bool
) -> Images:
    """The images of the pods: the newest, or those that run as long as the template has not changed.

    So an upgrade of the operator restarts no pod, but of pools whose sidecar.upgradePolicy is Rolling: those take the
    newest when `may_roll`.
    """
    sidecar = node.spec.get("sidecar") or {}
    wanted = Images(sidecar.get("image") or newest.sidecar, newest.host)
    if deployment is None or (may_roll and sidecar.get("upgradePolicy") == "Rolling"):
        return wanted
    if deployment.meta.annotations.get(names.SIDECAR_REVISION_ANNOTATION) != template_digest(node, around):
        return wanted
    pod = (deployment.spec.get("template") or {}).get("spec") or {}
    running = {c["name"]: c.get("image", "") for c in (*pod.get("initContainers", ()), *pod.get("containers", ()))}
    return Images(
        running.get(names.SIDECAR_CONTAINER) or wanted.sidecar, running.get(names.HOST_CONTAINER) or wanted.host
    )


def build_deployment(node: Resource, replicas: int, images: Images, around: Surroundings) -> Json:
    """The pods. A rolling update never takes an instance before its successor is ready."""
    manifest = _child(DEPLOYMENT, node)
    manifest["metadata"]["annotations"] = {names.SIDECAR_REVISION_ANNOTATION: template_digest(node, around)}
    manifest["spec"] = {
        "replicas": replicas,
        "revisionHistoryLimit": REVISIONS_KEPT,
        "selector": {"matchLabels": {names.NODE_LABEL: node.meta.name}},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": "25%"}},
        "template": build_template(node.meta.name, node.spec, images, around),
    }
    return manifest


def build_autoscaler(node: Resource, source: Source) -> Json:
    """Scales AgentNode/scale between the AgentNode's bounds, by what `build_metrics` says."""
    scaling = node.spec["autoscaling"]
    behavior = scaling.get("behavior") or {}
    manifest = _child(AUTOSCALER, node)
    manifest["spec"] = {
        "scaleTargetRef": {"apiVersion": names.API_VERSION, "kind": names.AGENT_NODE, "name": node.meta.name},
        # An HPA cannot have 0 everywhere: between 0 and 1 the operator decides
        "minReplicas": max(1, scaling.get("minReplicas", 2)),
        "maxReplicas": scaling.get("maxReplicas", 10),
        "metrics": build_metrics(node, source),
        "behavior": {
            "scaleUp": behavior.get("scaleUp") or SCALE_UP,
            "scaleDown": behavior.get("scaleDown") or SCALE_DOWN,
        },
    }
    return manifest


def build_service(node: Resource) -> Json:
    """Headless: its EndpointSlices tell gateways which instances to expect, and where they are."""
    manifest = _child(SERVICE, node)
    manifest["spec"] = {
        "clusterIP": "None",
        "publishNotReadyAddresses": False,
        "selector": {names.NODE_LABEL: node.meta.name},
        "ports": [{"name": "ops", "port": names.OPS_PORT, "protocol": "TCP", "targetPort": names.OPS_PORT}],
    }
    return manifest


def build_budget(node: Resource) -> Json:
    """One instance at a time may be evicted; a broken one always may."""
    manifest = _child(BUDGET, node)
    manifest["spec"] = {
        "maxUnavailable": 1,
        "unhealthyPodEvictionPolicy": "AlwaysAllow",
        "selector": {"matchLabels": {names.NODE_LABEL: node.meta.name}},
    }
    return manifest


def build_account(node: Resource) -> Json:
    """An identity without any rights and without a mounted token."""
    return _child(ACCOUNT, node) | {"automountServiceAccountToken": False}


def build_config_map(node: Resource, assignments: str) -> Json:
    """The assignments, as the sidecars read them."""
    return _child(CONFIG_MAP, node) | {"data": {names.ASSIGNMENTS_FILE: assignments}}


def build_inline_node(agent: Resource) -> Json:
    """The AgentNode that an Agent has inline. Under autoscaling its replicas are the autoscaler's."""
    spec = dict(agent.spec["node"])
    if spec.get("autoscaling"):
        spec.pop("replicas", None)
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.AGENT_NODE,
        "metadata": {
            "name": agent.meta.name,
            "namespace": agent.meta.namespace,
            "labels": {names.MANAGED_BY_LABEL: names.MANAGED_BY},
            "ownerReferences": [_owner(agent, names.AGENT)],
        },
        "spec": spec,
    }


def selector_of(node: Resource) -> str:
    """The label selector of the pods as text, for `status.selector`."""
    return f"{names.NODE_LABEL}={node.meta.name}"


def _child(kind: str, node: Resource) -> Json:
    return {
        "apiVersion": _API_VERSIONS[kind],
        "kind": kind,
        "metadata": {
            "name": child_names(node.meta.name)[kind],
            "namespace": node.meta.namespace,
            "labels": pod_labels(node.meta.name),
            "ownerReferences": [_owner(node, names.AGENT_NODE)],
        },
    }


def _owner(owner: Resource, kind: str) -> Json:
    return {
        "apiVersion": names.API_VERSION,
        "kind": kind,
        "name": owner.meta.name,
        "uid": owner.meta.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }
