"""What pods may do, and what every component tells about itself."""

import json

from live.release import NAMESPACE as SYSTEM
from live.release import RELEASE, helm
from pools import echo_pool

METRICS = {
    "operator": "switchboard_operator_reconciles_total",
    "gateway": "switchboard_gateway_calls_total",
    "switchboard-sidecar": "switchboard_sidecar_calls_total",
}


def test_agent_pods_pass_pod_security_restricted_and_have_no_api_token(journey):
    # The namespace enforces `restricted`: that pods are there at all is half of the proof
    journey.apply(*echo_pool(journey.namespace))
    journey.await_ready(nodes=("echo",), agents=("echo",))
    [pod] = journey.pods("echo")
    spec = pod["spec"]

    assert spec["automountServiceAccountToken"] is False
    assert spec["serviceAccountName"] == "echo"
    containers = [*spec["initContainers"], *spec["containers"]]
    assert all(found["securityContext"]["readOnlyRootFilesystem"] for found in containers)
    tokens = {
        found["name"]
        for found in containers
        for mount in found.get("volumeMounts", ())
        if mount["mountPath"].startswith("/var/run/secrets")
    }
    assert tokens == {"switchboard-sidecar"}, "the pod's only token is the sidecar's, for the gateways alone"
    name = pod["metadata"]["name"]
    seen = journey.kube("exec", name, "-c", "agent", "--", "python3", "-c", LOOK_INSIDE)
    assert json.loads(seen) == {"uid": 65532, "secrets": False, "root_is_writable": False}


def test_every_component_has_metrics_and_json_logs_without_payloads(journey):
    journey.apply(*echo_pool(journey.namespace))
    journey.await_ready(nodes=("echo",), agents=("echo",))
    secret = "a-payload-that-nobody-may-log"
    assert journey.ask("echo", secret) == secret
    [pod] = journey.pods("echo")
    where = [("switchboard-sidecar", journey.namespace, pod["metadata"]["name"])]
    for component in ("operator", "gateway"):
        pods = journey.kubectl.items(SYSTEM, "pods", f"app.kubernetes.io/component={component}")
        where += [(component, SYSTEM, found["metadata"]["name"]) for found in pods]

    scraped = dict.fromkeys(METRICS, "")
    for component, namespace, name in where:
        path = f"/api/v1/namespaces/{namespace}/pods/{name}:7490/proxy/metrics"
        scraped[component] += journey.kubectl("get", "--raw", path)
        logs = journey.kubectl("logs", name, "-n", namespace, "-c", component, "--tail=200")
        lines = [json.loads(line) for line in logs.splitlines()]
        assert lines, f"{component} says nothing"
        assert all({"time", "level", "component", "message"} <= line.keys() for line in lines)
        assert secret not in logs

    for component, metric in METRICS.items():
        assert metric in scraped[component], f"{component} has no {metric}"
        assert secret not in scraped[component]
    host = journey.kube("logs", pod["metadata"]["name"], "-c", "agent", "--tail=200")
    assert all(json.loads(line)["component"] for line in host.splitlines())


def test_helm_test_sends_a_message(kubectl, release):
    told = helm(kubectl, "test", RELEASE, "--logs", "--timeout", "5m", timeout_s=330)

    assert "ok: the agent answered" in told


LOOK_INSIDE = """
import json, os, pathlib
try:
    pathlib.Path("/probe").write_text("x")
    writable = True
except OSError:
    writable = False
secrets = pathlib.Path("/var/run/secrets/kubernetes.io").exists()
print(json.dumps({"uid": os.getuid(), "secrets": secrets, "root_is_writable": writable}))
"""
