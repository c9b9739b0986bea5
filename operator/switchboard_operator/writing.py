"""Every write of the operator goes through here: only while it leads, counted, and remembered until it is seen."""

import os
import signal
from collections.abc import Callable, Mapping
from typing import Any, Final

from switchboard_kube import (
    AGENT_NODES,
    AGENTS,
    CONFIG_MAPS,
    DEPLOYMENTS,
    DISRUPTION_BUDGETS,
    HORIZONTAL_AUTOSCALERS,
    PODS,
    SERVICE_ACCOUNTS,
    SERVICES,
    Json,
    Kube,
    Resource,
)
from switchboard_operator import metrics

RESOURCES: Final[Mapping[str, Resource]] = {
    resource.kind: resource
    for resource in (
        AGENT_NODES,
        AGENTS,
        CONFIG_MAPS,
        DEPLOYMENTS,
        DISRUPTION_BUDGETS,
        HORIZONTAL_AUTOSCALERS,
        SERVICES,
        SERVICE_ACCOUNTS,
    )
}

# A write that is not seen by then was undone, or its event was lost: the next look decides anew
REMEMBERED_S: Final = 5.0
# For tests: the process kills itself after it has written this kind, as `kill -9` would
ENV_FAILPOINT: Final = "SWITCHBOARD_FAILPOINT"

ObjectName = tuple[str, str, str]  # kind, namespace, name


class Writer:
    """Writes for the leader, and knows which of its writes the watches have not shown yet."""

    def __init__(self, kube: Kube, check_lease: Callable[[], None], now: Callable[[], float]) -> None:
        self._kube, self._check_lease, self._now = kube, check_lease, now
        self._unseen: dict[ObjectName, tuple[int | None, float]] = {}
        self._failpoint = os.environ.get(ENV_FAILPOINT, "")

    async def apply(self, manifest: Mapping[str, Any]) -> Json:
        """Server-side apply; raises NotLeading and ApiError."""
        kind = manifest["kind"]
        self._begin("apply", kind)
        return self._end(kind, await self._kube.apply(RESOURCES[kind], manifest))

    async def scale(self, namespace: str, name: str, replicas: int, resource_version: str) -> None:
        """Write AgentNode/scale; Conflict when the AgentNode is not the one of resource_version."""
        self._begin("scale", AGENT_NODES.kind)
        body = {"metadata": {"resourceVersion": resource_version}, "spec": {"replicas": replicas}}
        scale = await self._kube.patch(AGENT_NODES, name, namespace, body, subresource="scale")
        self._end(AGENT_NODES.kind, scale)

    async def patch_status(self, kind: str, namespace: str, name: str, status: Mapping[str, Any]) -> None:
        """Merge into `.status`."""
        self._begin("status", kind)
        self._end(kind, await self._kube.patch_status(RESOURCES[kind], name, namespace, status))

    async def annotate_pod(self, namespace: str, name: str, uid: str, annotation: tuple[str, str | None]) -> None:
        """Write one annotation of that very pod, or take it away; Conflict when the pod is another one."""
        self._begin("annotate", PODS.kind)
        await self._kube.patch(PODS, name, namespace, {"metadata": {"uid": uid, "annotations": dict([annotation])}})
        self._fail_here(PODS.kind)

    async def delete(self, kind: str, namespace: str, name: str, uid: str) -> None:
        """Delete that very object."""
        self._begin("delete", kind)
        await self._kube.delete(RESOURCES[kind], name, namespace, uid=uid)
        self._unseen[(kind, namespace, name)] = (None, self._now())
        self._fail_here(kind)

    async def read(self, kind: str, namespace: str, name: str) -> Json:
        """Ask the API server itself; raises NotFound."""
        return await self._kube.get(RESOURCES[kind], name, namespace)

    def is_unseen(self, kind: str, namespace: str, name: str, seen_version: str | None) -> bool:
        """Whether a write of this replica is newer than what the watch shows (None: nothing)."""
        key = (kind, namespace, name)
        if key not in self._unseen:
            return False
        version, written = self._unseen[key]
        seen = seen_version is None if version is None else int(seen_version or 0) >= version
        if seen or self._now() - written > REMEMBERED_S:
            del self._unseen[key]
            return False
        return True

    def _begin(self, verb: str, kind: str) -> None:
        self._check_lease()
        metrics.WRITES.labels(verb, kind).inc()

    def _end(self, kind: str, answer: Json) -> Json:
        metadata = answer["metadata"]
        version = int(metadata.get("resourceVersion") or 0)
        self._unseen[(kind, metadata.get("namespace", ""), metadata["name"])] = (version, self._now())
        self._fail_here(kind)
        return answer

    def _fail_here(self, kind: str) -> None:
        if self._failpoint == kind:
            os.kill(os.getpid(), signal.SIGKILL)
