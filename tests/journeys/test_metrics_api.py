"""The work as a metric: read with kubectl, followed by the autoscaler; and what an API that is away does to others."""

import contextlib
import json
import ssl
import subprocess
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator

import pytest
from live.gateway import free_port, is_open
from live.kubectl import CommandFailed
from live.release import NAMESPACE as SYSTEM
from live.traffic import Load
from live.waiting import NotYet, wait_until
from pools import agent, agent_node, code

from switchboard_wire import names

CUSTOM = "/apis/custom.metrics.k8s.io/v1beta2"
API_SERVICE = "v1beta2.custom.metrics.k8s.io"
DEPLOYMENT = "deployment/switchboard-operator"

WAITS = """
import asyncio
from switchboard import agent

@agent
async def think(seconds: float) -> float:
    await asyncio.sleep(seconds)
    return seconds
"""


def think_pool(journey, **spec) -> list:
    """A pool whose agent is busy without any CPU, as one is that waits for a model."""
    return [
        code(journey.namespace, "think", app=WAITS),
        agent_node(journey.namespace, "think", **spec),
        agent(journey.namespace, "think", "think", "app:think"),
    ]


def read(journey, path: str) -> dict:
    """`kubectl get --raw` of metrics in the test's namespace."""
    return json.loads(journey.kubectl("get", "--raw", f"{CUSTOM}/namespaces/{journey.namespace}/{path}"))


def test_kubectl_shows_what_a_pod_has_in_flight(journey):
    journey.apply(*think_pool(journey, replicas=1))
    journey.await_ready(nodes=("think",), agents=("think",))
    [pod] = journey.await_pods("think", 1)

    with journey.traffic(Load("think", 0.5, senders=3)):

        def busy() -> bool:
            shown = [
                (item["describedObject"]["name"], item["value"]) for item in read(journey, "pods/*/in_flight")["items"]
            ]
            if shown != [(pod, "3")]:
                raise NotYet(shown)
            return True

        wait_until(busy, "3 messages in flight")
        rate = read(journey, "agentnodes.switchboard.dev/think/messages_per_second")["items"][0]
        assert rate["describedObject"]["kind"] == names.AGENT_NODE


def test_a_step_of_work_brings_instances_that_cpu_would_not(journey, record_property):
    bounds = {"minReplicas": 1, "maxReplicas": 3, "cpuUtilization": 0, "memoryUtilization": 0, "inFlightPerInstance": 4}
    journey.apply(*think_pool(journey, autoscaling=bounds))
    journey.await_ready(nodes=("think",), agents=("think",))

    def is_active() -> bool:
        scaler = journey.kubectl.find(journey.namespace, "hpa", "think") or {}
        told = {c["type"]: c["status"] for c in scaler.get("status", {}).get("conditions", ())}
        if told.get("ScalingActive") != "True":
            raise NotYet(scaler.get("status"))
        return True

    wait_until(is_active, "the autoscaler to read the metric")

    began = time.monotonic()
    times = {}
    with journey.traffic(Load("think", 0.5, senders=12)) as tally:
        wait_until(lambda: journey.node("think")["spec"]["replicas"] == 3, "three instances to be wanted")
        times["wanted"] = time.monotonic() - began
        wait_until(lambda: len(tally.by_instance) >= 2, "an answer of a second instance", 180)
        times["answers"] = time.monotonic() - began
        journey.await_pods("think", 3)
        times["ready"] = time.monotonic() - began

    for name, seconds in times.items():
        record_property(name, round(seconds, 1))
    print({name: round(seconds, 1) for name, seconds in times.items()})  # noqa: T201 - the figures are what it is for
    assert (tally.failed, tally.failures) == (0, [])


def test_a_namespace_deleted_while_no_operator_runs_goes_soon_after_it_is_back(journey, record_property):
    doomed = f"journey-doomed-{uuid.uuid4().hex[:6]}"
    replicas = journey.kubectl("get", DEPLOYMENT, "-n", SYSTEM, "-o", "jsonpath={.spec.replicas}")
    journey.kubectl("create", "namespace", doomed)
    try:
        journey.kubectl("scale", DEPLOYMENT, "-n", SYSTEM, "--replicas=0")
        journey.kubectl("wait", "--for=condition=Available=False", f"apiservice/{API_SERVICE}", "--timeout=90s")
        journey.kubectl("delete", "namespace", doomed, "--wait=false")
        # Whether it is held up depends on what its controller last knew of the API; that it goes is what counts
        journey.kubectl("wait", "--for=jsonpath={.status.phase}=Terminating", f"namespace/{doomed}", "--timeout=90s")
    finally:
        journey.kubectl("scale", DEPLOYMENT, "-n", SYSTEM, f"--replicas={replicas}")
    journey.kubectl("rollout", "status", DEPLOYMENT, "-n", SYSTEM, "--timeout=120s", timeout_s=150)
    back = time.monotonic()
    journey.kubectl("wait", "--for=delete", f"namespace/{doomed}", "--timeout=110s")
    record_property("gone_after_s", round(time.monotonic() - back, 1))
    print(f"gone {time.monotonic() - back:.1f} s after the operator was back")  # noqa: T201 - the figures are what it is for


def test_who_has_no_right_reads_no_metric(journey):
    words = ("get", "--raw", f"{CUSTOM}/namespaces/{journey.namespace}/pods/*/in_flight", "--as=mallory")
    with pytest.raises(CommandFailed, match="mallory"):
        journey.kubectl(*words, "--as-group=system:authenticated")


def test_past_the_api_server_nobody_is_believed(journey):
    claims = {"X-Remote-User": "admin", "X-Remote-Group": "system:masters"}
    anyone = ssl.create_default_context()
    anyone.check_hostname, anyone.verify_mode = False, ssl.CERT_NONE
    with forwarded(journey) as port:
        request = urllib.request.Request(f"https://127.0.0.1:{port}{CUSTOM}", headers=claims)
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request, context=anyone)
        assert refused.value.code == 401
        refused.value.close()


@contextlib.contextmanager
def forwarded(journey) -> Iterator[int]:
    """A port of this machine that leads to the metrics API of one operator."""
    port = free_port()
    program = [str(journey.kubectl.program), f"--kubeconfig={journey.kubectl.kubeconfig}"]
    service = f"service/{names.METRICS_SERVICE}"
    words = ["port-forward", "-n", SYSTEM, service, f"{port}:{names.METRICS_API_PORT}"]
    with subprocess.Popen([*program, *words], stdout=subprocess.DEVNULL) as process:
        try:
            wait_until(lambda: is_open(f"127.0.0.1:{port}"), "the port-forward")
            yield port
        finally:
            process.terminate()
