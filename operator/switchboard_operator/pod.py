"""The pod template of an AgentNode: the user's, with the host, the native sidecar and what both share.

Pods made from it pass Pod Security `restricted` and need no rights in the cluster.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from switchboard_wire import names

Json = dict[str, Any]

# What the HPA divides by, when the user names no request
HOST_REQUESTS: Final = {"cpu": "250m", "memory": "256Mi"}
# A Python process with grpc needs about 70 MiB; it idles at a few millicores
SIDECAR_REQUESTS: Final = {"cpu": "50m", "memory": "96Mi"}
# Time for the kubelet to tell, the drain to begin and both processes to end after it
GRACE_BEYOND_DRAIN_S: Final = 15
TOKEN_LIFETIME_S: Final = 3600
TMP_VOLUME: Final = f"{names.RESERVED_PREFIX}tmp"

_ZONE, _HOST = names.ZONE_LABEL, "kubernetes.io/hostname"
_SPREAD: Final[Mapping[str, tuple[str, ...]]] = {"Zone": (_ZONE, _HOST), "Node": (_HOST,), "None": ()}


@dataclass(frozen=True, slots=True)
class Images:
    """The images that the operator decides: of the sidecar, and of the host where the template names none."""

    sidecar: str
    host: str


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the pods must know of the installation. plain_text: it turns TLS on, some gateways do not speak it yet."""

    gateways: str
    registries: str
    image_pull_policy: str
    tls: bool = False
    plain_text: bool = False


def build_template(node: str, spec: Mapping[str, Any], images: Images, around: Surroundings) -> Json:
    """The pod template for an AgentNode's spec."""
    template = copy.deepcopy(dict(spec.get("template") or {}))
    metadata, pod = dict(template.get("metadata") or {}), dict(template.get("spec") or {})
    metadata["labels"] = dict(metadata.get("labels") or {}) | pod_labels(node)
    containers = [dict(container) for container in pod.get("containers") or ()]
    if not any(container["name"] == names.HOST_CONTAINER for container in containers):
        containers.insert(0, {"name": names.HOST_CONTAINER})
    pod["containers"] = [
        _host(container, spec, images, around) if container["name"] == names.HOST_CONTAINER else _hardened(container)
        for container in containers
    ]
    others = [_hardened(container) for container in pod.get("initContainers") or ()]
    pod["initContainers"] = [_sidecar(node, spec, images, around), *others]
    pod["volumes"] = [*(pod.get("volumes") or ()), *_volumes(node, spec)]
    pod["terminationGracePeriodSeconds"] = spec.get("drainSeconds", 30) + GRACE_BEYOND_DRAIN_S
    pod.setdefault("serviceAccountName", node)
    pod.setdefault("automountServiceAccountToken", False)
    pod.setdefault("enableServiceLinks", False)
    pod["securityContext"] = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}} | dict(
        pod.get("securityContext") or {}
    )
    if constraints := _spread(node, spec):
        pod.setdefault("topologySpreadConstraints", constraints)
    return {"metadata": metadata, "spec": pod}


def pod_labels(node: str) -> dict[str, str]:
    """The labels of the pods and of every child."""
    return {names.NODE_LABEL: node, names.MANAGED_BY_LABEL: names.MANAGED_BY}


def _host(container: Json, spec: Mapping[str, Any], images: Images, around: Surroundings) -> Json:
    host = _hardened(container)
    if not host.get("image"):
        host["image"] = images.host
        host.setdefault("imagePullPolicy", around.image_pull_policy)
    host["securityContext"].setdefault("readOnlyRootFilesystem", True)
    host["resources"] = _with_requests(host.get("resources") or {}, HOST_REQUESTS)
    host["lifecycle"] = dict(host.get("lifecycle") or {}) | {
        "preStop": {"httpGet": {"path": names.DRAIN_PATH, "port": names.OPS_PORT, "scheme": "HTTP"}}
    }
    given = {variable["name"] for variable in host.get("env") or ()}
    ours = [variable for variable in _identity_env() if variable["name"] not in given]
    host["env"] = [*(host.get("env") or ()), *ours]
    mounts: list[Json] = [{"name": names.SOCKET_VOLUME, "mountPath": _folder(names.SOCKET_PATH)}]
    if spec.get("source"):
        mounts.append({"name": names.CODE_VOLUME, "mountPath": names.CODE_FOLDER, "readOnly": True})
    if not any(mount["mountPath"] == "/tmp" for mount in host.get("volumeMounts") or ()):
        mounts.append({"name": TMP_VOLUME, "mountPath": "/tmp"})
    host["volumeMounts"] = [*(host.get("volumeMounts") or ()), *mounts]
    return host


def _sidecar(node: str, spec: Mapping[str, Any], images: Images, around: Surroundings) -> Json:
    resources = (spec.get("sidecar") or {}).get("resources") or {}
    token_file = f"{names.TOKEN_FOLDER}/token"
    variables = {
        names.ENV_NODE: node,
        names.ENV_GATEWAYS: around.gateways,
        names.ENV_REGISTRIES: around.registries,
        names.ENV_ASSIGNMENTS: f"{names.ASSIGNMENTS_FOLDER}/{names.ASSIGNMENTS_FILE}",
        names.ENV_TOKEN_FILE: token_file,
    }
    if around.tls:
        variables[names.ENV_TLS] = "required"
    return {
        "name": names.SIDECAR_CONTAINER,
        "image": images.sidecar,
        "imagePullPolicy": around.image_pull_policy,
        "restartPolicy": "Always",
        "env": [*_identity_env(), *({"name": name, "value": value} for name, value in variables.items())],
        "ports": [{"name": "ops", "containerPort": names.OPS_PORT, "protocol": "TCP"}],
        # It waits for nobody: a sidecar that waited for the host would never let the host start
        "startupProbe": _probe("/livez", period_s=1, failures=60),
        "readinessProbe": _probe("/readyz", period_s=2, failures=3),
        "lifecycle": {"preStop": {"exec": {"command": ["python3", "-m", "switchboard_sidecar", "drain"]}}},
        "resources": _with_requests(resources, SIDECAR_REQUESTS),
        "securityContext": _hardened({})["securityContext"] | {"readOnlyRootFilesystem": True},
        "volumeMounts": [
            {"name": names.SOCKET_VOLUME, "mountPath": _folder(names.SOCKET_PATH)},
            {"name": names.ASSIGNMENTS_VOLUME, "mountPath": names.ASSIGNMENTS_FOLDER, "readOnly": True},
            {"name": names.TOKEN_VOLUME, "mountPath": names.TOKEN_FOLDER, "readOnly": True},
        ],
    }


def _identity_env() -> list[Json]:
    fields = {
        names.ENV_NAMESPACE: "metadata.namespace",
        names.ENV_INSTANCE: "metadata.name",
        names.ENV_POD_UID: "metadata.uid",
        names.ENV_POD_IP: "status.podIP",
    }
    return [{"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}} for name, path in fields.items()]


def _volumes(node: str, spec: Mapping[str, Any]) -> list[Json]:
    token = {"audience": names.TOKEN_AUDIENCE, "expirationSeconds": TOKEN_LIFETIME_S, "path": "token"}
    volumes: list[Json] = [
        {"name": names.SOCKET_VOLUME, "emptyDir": {"medium": "Memory", "sizeLimit": "16Mi"}},
        {"name": TMP_VOLUME, "emptyDir": {}},
        {"name": names.ASSIGNMENTS_VOLUME, "configMap": {"name": f"{node}-assignments"}},
        {"name": names.TOKEN_VOLUME, "projected": {"sources": [{"serviceAccountToken": token}]}},
    ]
    if source := spec.get("source"):
        volumes.append({"name": names.CODE_VOLUME, "configMap": {"name": source["configMap"]}})
    return volumes


def _spread(node: str, spec: Mapping[str, Any]) -> list[Json]:
    return [
        {
            "maxSkew": 1,
            "topologyKey": key,
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": {names.NODE_LABEL: node}},
            # Pods of the former template leave soon: they must not push the new ones to one side
            "matchLabelKeys": ["pod-template-hash"],
        }
        for key in _SPREAD[spec.get("spread", "Zone")]
    ]


def _hardened(container: Mapping[str, Any]) -> Json:
    """The container with what Pod Security `restricted` asks of it; what the user says stays."""
    defaults = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    return {**container, "securityContext": defaults | dict(container.get("securityContext") or {})}


def _with_requests(resources: Mapping[str, Any], defaults: Mapping[str, str]) -> Json:
    """A limit without a request is a request of the same size to the API server, so it needs no default."""
    requests, limits = dict(resources.get("requests") or {}), resources.get("limits") or {}
    missing = {name: value for name, value in defaults.items() if name not in requests and name not in limits}
    return {**resources, "requests": requests | missing} if requests or missing else dict(resources)


def _probe(path: str, *, period_s: int, failures: int) -> Json:
    get = {"path": path, "port": names.OPS_PORT, "scheme": "HTTP"}
    return {"httpGet": get, "periodSeconds": period_s, "timeoutSeconds": 2, "failureThreshold": failures}


def _folder(path: str) -> str:
    return path.rpartition("/")[0]
