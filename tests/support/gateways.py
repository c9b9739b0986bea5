"""The replicas of the gateway, or of another component, on a cluster, each asked alone through the API server."""

from live.kubectl import Kubectl, is_ready
from live.release import NAMESPACE as SYSTEM

GATEWAY = "app.kubernetes.io/component=gateway"
HTTP_PORT = 8080
OPS_PORT = 7490


def replicas(kubectl: Kubectl, component: str = GATEWAY) -> list[str]:
    """The names of a component's ready pods."""
    return [pod["metadata"]["name"] for pod in kubectl.items(SYSTEM, "pods", component) if is_ready(pod)]


def count_of(kubectl: Kubectl, metric: str, component: str = GATEWAY, **labels: str) -> float:
    """The sum of a metric over all replicas and over all of its series that have these labels."""
    wanted = [f'{name}="{value}"' for name, value in labels.items()]
    total = 0.0
    for pod in replicas(kubectl, component):
        for line in kubectl("get", "--raw", _path(pod, OPS_PORT, "metrics")).splitlines():
            series, _, value = line.rpartition(" ")
            if series.partition("{")[0] == metric and all(label in series for label in wanted):
                total += float(value)
    return total


def execute_at(kubectl: Kubectl, pod: str, agent: str, text: str) -> str:
    """POST a text to an agent of the default namespace through one replica; the answer. Raises CommandFailed."""
    return kubectl("create", "--raw", _path(pod, HTTP_PORT, f"api/v1/agents/{agent}/execute"), "-f", "-", stdin=text)


def _path(pod: str, port: int, rest: str) -> str:
    return f"/api/v1/namespaces/{SYSTEM}/pods/{pod}:{port}/proxy/{rest}"
