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
from dataclasses import dataclass

import pytest
from journey import require_no_failure
from live.gateway import is_open
from live.kubectl import AGENT_NODES, CommandFailed
from live.release import NAMESPACE as SYSTEM
from live.traffic import Load
from live.waiting import NotYet, wait_until
from pools import agent, agent_node, code
from ports import free_port

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


def think_pool(journey, name: str = "think", **spec) -> list:
    """A pool whose agent is busy without any CPU, as one is that waits for a model."""
    return [
        code(journey.namespace, name, app=WAITS),
        agent_node(journey.namespace, name, **spec),
        agent(journey.namespace, name, name, "app:think"),
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


@dataclass(frozen=True, slots=True)
class Signal:
    """A target of spec.autoscaling, the metric behind it, and a load that is too much for one instance."""

    field: str
    target: int
    metric: str
    load: Load
    # Little, so that calls spill over to an instance in another zone than the gateway's
    concurrency: int = 1


SIGNALS = {
    "flying": Signal("inFlightPerInstance", 2, "in_flight", Load("flying", 0.5, senders=12), concurrency=4),
    "waiting": Signal("queuedPerInstance", 2, "queued", Load("waiting", 0.5, senders=8)),
    "passing": Signal("messagesPerSecond", 4, "messages_per_second", Load("passing", 0.1, senders=4, per_second=20)),
}


@pytest.mark.reliability
def test_a_step_of_work_brings_instances_that_cpu_would_not(journey, report):
    off = {"minReplicas": 1, "maxReplicas": 2, "cpuUtilization": 0, "memoryUtilization": 0}
    for name, signal in SIGNALS.items():
        bounds = off | {signal.field: signal.target}
        journey.apply(*think_pool(journey, name, concurrency=signal.concurrency, autoscaling=bounds))
    journey.await_ready(nodes=tuple(SIGNALS), agents=tuple(SIGNALS))
    for name in SIGNALS:
        await_scaling_active(journey, name)

    steps: dict[str, Step] = {}
    with contextlib.ExitStack() as stack:
        tallies = {}
        for name, signal in SIGNALS.items():
            steps[name] = Step(time.monotonic())
            tallies[name] = stack.enter_context(journey.traffic(signal.load))
        wait_until(lambda: all_raised(journey, steps), "a second instance of each pool to be wanted", 180)
        for name, tally in tallies.items():
            wait_until(lambda tally=tally: len(tally.by_instance) == 2, f"answers of two instances of {name}", 180)
        answered_s = time.monotonic() - steps["flying"].began_s

    # The delay is a figure and no test: an autoscaler looks every so often, here every 5 s, and machines may be busy
    for name, step in steps.items():
        scenario = f"a step of work, autoscaling by {SIGNALS[name].field}"
        raised_s, told_s = step.wanted_s - step.began_s, step.told_s - step.began_s
        report.add_times(scenario, raised_after_s=raised_s, metric_above_target_after_s=told_s)
    report.add_times("a step of work, three pools at once", answers_of_all_second_instances_s=answered_s)
    for tally in tallies.values():
        require_no_failure(tally)


@dataclass(slots=True)
class Step:
    """When a pool's load began, its metric was above the target, and more instances were wanted; 0 until then."""

    began_s: float
    told_s: float = 0.0
    wanted_s: float = 0.0


def all_raised(journey, steps: dict[str, Step]) -> bool:
    """Look at scales and metrics, note what is new, and tell whether more are wanted of each."""
    nodes = journey.kubectl.items(journey.namespace, AGENT_NODES)
    wanted, now = {node["metadata"]["name"]: node["spec"]["replicas"] for node in nodes}, time.monotonic()
    for name, step in steps.items():
        if not step.wanted_s and wanted[name] > 1:
            step.wanted_s = now
            step.told_s = step.told_s or now
        if not step.told_s and shown(journey, name) > SIGNALS[name].target:
            step.told_s = time.monotonic()
    if set(wanted.values()) != {2}:
        raise NotYet(wanted)
    return True


def shown(journey, name: str) -> float:
    """What the metrics API shows of a pool's signal, 0 where it shows nothing; a fraction comes in thousandths."""
    try:
        [item] = read(journey, f"agentnodes.switchboard.dev/{name}/{SIGNALS[name].metric}")["items"]
    except CommandFailed:  # most of the instances have just begun and were not heard yet
        return 0.0
    value = item["value"]
    return int(value.removesuffix("m")) / 1000 if value.endswith("m") else float(value)


def await_scaling_active(journey, name: str) -> None:
    """Wait until the pool's autoscaler has read its metric."""

    def look() -> bool:
        scaler = journey.kubectl.find(journey.namespace, "hpa", name) or {}
        told = {c["type"]: c["status"] for c in scaler.get("status", {}).get("conditions", ())}
        if told.get("ScalingActive") != "True":
            raise NotYet(scaler.get("status"))
        return True

    wait_until(look, f"the autoscaler of {name} to read the metric")


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
