"""Every write of the operator goes through here: only while it leads, counted, and remembered until it is seen."""

import contextlib
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
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
        self._awaited: set[ObjectName] = set()
        self._under_way: Counter[ObjectName] = Counter()
        self._failpoint = os.environ.get(ENV_FAILPOINT, "")

    def check(self) -> None:
        """Raise NotLeading when nothing may be written now."""
        self._check_lease()

    async def apply(self, manifest: Mapping[str, Any]) -> Json:
        """Server-side apply; raises NotLeading and ApiError."""
        kind, metadata = manifest["kind"], manifest["metadata"]
        with self._write("apply", (kind, metadata.get("namespace", ""), metadata["name"])) as wrote:
            return wrote(await self._kube.apply(RESOURCES[kind], manifest))

    async def scale(self, namespace: str, name: str, replicas: int, resource_version: str) -> None:
        """Write AgentNode/scale; Conflict when the AgentNode is not the one of resource_version."""
        body = {"metadata": {"resourceVersion": resource_version}, "spec": {"replicas": replicas}}
        with self._write("scale", (AGENT_NODES.kind, namespace, name)) as wrote:
            wrote(await self._kube.patch(AGENT_NODES, name, namespace, body, subresource="scale"))

    async def patch_status(self, kind: str, namespace: str, name: str, status: Mapping[str, Any]) -> None:
        """Merge into `.status`."""
        with self._write("status", (kind, namespace, name)) as wrote:
            wrote(await self._kube.patch_status(RESOURCES[kind], name, namespace, status))

    async def annotate_pod(self, namespace: str, name: str, uid: str, annotation: tuple[str, str | None]) -> None:
        """Write one annotation of that very pod, or take it away; Conflict when the pod is another one."""
        body = {"metadata": {"uid": uid, "annotations": dict([annotation])}}
        with self._write("annotate", (PODS.kind, namespace, name)):
            await self._kube.patch(PODS, name, namespace, body)
            self._fail_here(PODS.kind)

    async def delete(self, kind: str, namespace: str, name: str, uid: str) -> None:
        """Delete that very object."""
        with self._write("delete", (kind, namespace, name)):
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
        self._awaited.add(key)
        return True

    def is_echo(self, name: ObjectName, version: str) -> bool | None:
        """Whether the watch shows what this replica wrote, for which nobody waits. None: it cannot be said yet.

        Not of a Deployment, the one child of which status tells: an apply that changes nothing is answered with the
        version of its controller's latest write, of which nobody has heard yet.
        """
        if self._under_way[name]:
            return None
        written, _ = self._unseen.get(name, (None, 0.0))
        if name in self._awaited:
            self._awaited.discard(name)
            return False
        if written is None or version != str(written):
            return False
        del self._unseen[name]
        return name[0] != DEPLOYMENTS.kind

    @contextlib.contextmanager
    def _write(self, verb: str, name: ObjectName) -> Iterator[Callable[[Json], Json]]:
        """One write of an object. What it gives is told the API server's answer, and returns it."""

        def wrote(answer: Json) -> Json:
            self._unseen[name] = (int(answer["metadata"].get("resourceVersion") or 0), self._now())
            self._fail_here(name[0])
            return answer

        self._check_lease()
        metrics.WRITES.labels(verb, name[0]).inc()
        self._under_way[name] += 1
        try:
            yield wrote
        finally:
            self._under_way[name] -= 1
            if not self._under_way[name]:
                del self._under_way[name]

    def _fail_here(self, kind: str) -> None:
        if self._failpoint == kind:
            os.kill(os.getpid(), signal.SIGKILL)
