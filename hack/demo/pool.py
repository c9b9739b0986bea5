"""What the cluster says of the demo's pool at this moment."""

import json
from collections import Counter
from dataclasses import dataclass
from typing import Any

from devcluster.settings import PROJECT
from live.kubectl import AGENT_NODES, AGENTS, Kubectl, condition, is_ready
from live.waiting import NotYet

NAMESPACE = "demo"
POOL = "workers"
AGENTS_SHOWN = ("translator", "summarizer", "classifier", "counter", "researcher")
EXAMPLE = PROJECT / "examples" / "demo"
POD_LABEL = f"switchboard.dev/agentnode={POOL}"


@dataclass(frozen=True, slots=True)
class Pool:
    """The AgentNode `workers`, its pods and its agents, looked up anew by each call."""

    kubectl: Kubectl

    def apply(self) -> None:
        """Make the namespace, the code and the manifests, or bring them to what the example says."""
        namespace = {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": NAMESPACE, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}},
        }
        code = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "demo-agents", "namespace": NAMESPACE},
            "data": {"agents.py": (EXAMPLE / "agents.py").read_text()},
        }
        self.kubectl.apply(namespace)
        self.kubectl.apply(code)
        self.kubectl("apply", "-n", NAMESPACE, "-f", str(EXAMPLE / "demo.yaml"))

    def node(self) -> dict[str, Any] | None:
        return self.kubectl.find(NAMESPACE, AGENT_NODES, POOL)

    def desired(self) -> int:
        """How many instances the autoscaler wants: it writes AgentNode/scale."""
        node = self.node()
        return int(node["spec"]["replicas"]) if node else 0

    def pods(self) -> list[dict[str, Any]]:
        """The pods that are not on their way out."""
        pods = self.kubectl.items(NAMESPACE, "pods", POD_LABEL)
        return [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]

    def zones(self) -> dict[str, str]:
        """Instance → zone, of those that the registry calls Up."""
        status = (self.node() or {}).get("status", {})
        return {item["name"]: item.get("zone", "") for item in status.get("instances", ()) if item["state"] == "Up"}

    def is_settled(self, instances: int) -> bool:
        """Whether exactly so many pods are there, all ready, all Up in the registry. Raises NotYet."""
        pods, up = self.pods(), self.zones()
        ready = {pod["metadata"]["name"] for pod in pods if is_ready(pod)}
        if not len(ready) == len(pods) == instances or ready != up.keys():
            raise NotYet(f"{len(pods)} pods, {len(ready)} ready, {len(up)} Up in the registry")
        return True

    def is_ready(self) -> bool:
        """Whether the AgentNode says that it is Ready."""
        return condition(self.node(), "Ready").get("status") == "True"

    def agents_are_ready(self, instances: int) -> bool:
        """Whether all five agents are Ready, on exactly so many instances. Raises NotYet."""
        for name in AGENTS_SHOWN:
            found = self.kubectl.find(NAMESPACE, AGENTS, name)
            told, status = condition(found, "Ready"), (found or {}).get("status", {})
            counts = (status.get("readyInstances"), status.get("instances"))
            if told.get("status") != "True" or counts != (instances, instances):
                raise NotYet(f"{name} is ready on {counts[0]} of {counts[1]}: {told.get('message', 'nothing is told')}")
        return True

    def nothing_terminates(self) -> bool:
        """Whether no pod is on its way out."""
        return len(self.kubectl.items(NAMESPACE, "pods", POD_LABEL)) == len(self.pods())

    def cpu_told(self) -> str:
        """What the autoscaler last measured, for example `104%/60%`."""
        autoscaler = self.kubectl.find(NAMESPACE, "hpa", POOL)
        if autoscaler is None:
            return "no autoscaler"
        return json.dumps(autoscaler["status"].get("currentMetrics", "no metrics yet"))[:200]


def spread_rows(by_instance: Counter[str], zones: dict[str, str]) -> list[tuple[object, ...]]:
    """A table of who answered how much."""
    total = sum(by_instance.values()) or 1
    rows: list[tuple[object, ...]] = [("instance", "zone", "answers", "share")]
    for name, count in sorted(by_instance.items()):
        share = count / total
        rows.append((name, zones.get(name, "gone"), count, f"{share:4.0%} {'█' * round(share * 30)}"))
    return rows
