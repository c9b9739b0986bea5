"""The number of instances: by hand through /scale, by the autoscaler under CPU load."""

import contextlib
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from gateways import count_of
from journey import READY_S, require_no_failure
from live.kubectl import AGENT_NODES, AGENTS
from live.traffic import Load
from live.waiting import NotYet, wait_until
from pools import REQUESTS, agent, agent_node, code, echo_pool

BURNS = """
import time
from switchboard import agent

@agent
def burn(ms: int) -> int:
    end = time.thread_time() + ms / 1000
    while time.thread_time() < end:
        pass
    return ms
"""


def test_kubectl_scale_changes_the_number_of_instances(journey):
    journey.apply(*echo_pool(journey.namespace, replicas=1))
    journey.await_ready(nodes=("echo",), agents=("echo",))

    journey.kube("scale", f"{AGENT_NODES}/echo", "--replicas=3")

    journey.await_pods("echo", 3)
    await_linked(journey, "echo", 3)
    wait_until(lambda: len(zones_told(journey, "echo")) == 2, "instances that are spread over the zones")

    with journey.traffic(Load("echo", "hello", senders=4, per_second=50)) as tally:
        journey.kube("scale", f"{AGENT_NODES}/echo", "--replicas=1")
        journey.await_pods("echo", 1)
        tally.wait_for(20)

    require_no_failure(tally)


def test_a_pool_scaled_to_zero_is_ready_and_comes_back(journey):
    journey.apply(*echo_pool(journey.namespace, replicas=1))
    journey.await_ready(nodes=("echo",), agents=("echo",))

    journey.kube("scale", f"{AGENT_NODES}/echo", "--replicas=0")
    message = journey.await_reason(AGENT_NODES, "echo", "Ready", "ScaledToZero")
    journey.await_gone("pods")
    journey.kube("scale", f"{AGENT_NODES}/echo", "--replicas=1")

    assert message
    assert journey.ask("echo", "held until it is there", timeout_s=READY_S) == "held until it is there"


def test_the_autoscaler_adds_instances_under_load_and_takes_them_away_after_it(journey):
    quick = {
        "scaleUp": {"policies": [{"type": "Pods", "value": 2, "periodSeconds": 15}]},
        "scaleDown": {"stabilizationWindowSeconds": 5, "policies": [{"type": "Pods", "value": 4, "periodSeconds": 15}]},
    }
    container = {"name": "agent", "resources": {"requests": REQUESTS | {"cpu": "100m"}}}
    bounds = {"minReplicas": 1, "maxReplicas": 3, "cpuUtilization": 50, "memoryUtilization": 0, "behavior": quick}
    template = {"spec": {"containers": [container]}}
    journey.apply(
        code(journey.namespace, "burn", app=BURNS),
        agent_node(journey.namespace, "burn", concurrency=1, template=template, autoscaling=bounds),
        agent(journey.namespace, "burn", "burn", "app:burn"),
    )
    journey.await_ready(nodes=("burn",), agents=("burn",))

    with journey.traffic(Load("burn", 20, senders=4, per_second=30)) as tally:
        await_scale(journey, "burn", lambda wanted: wanted >= 2)
        wait_until(lambda: len(tally.by_instance) >= 2, "answers of a second instance", 180)
    await_scale(journey, "burn", lambda wanted: wanted == 1)
    journey.await_pods("burn", 1)

    require_no_failure(tally)
    assert journey.ask("burn", 1) == 1


def test_turning_autoscaling_on_and_off_shows_no_number_that_nobody_asked_for(journey):
    map_, node, bound = echo_pool(journey.namespace, replicas=3)
    journey.apply(map_, node, bound)
    journey.await_ready(nodes=("echo",))
    before = journey.await_pods("echo", 3)
    bounds = {"minReplicas": 3, "maxReplicas": 4, "cpuUtilization": 500, "memoryUtilization": 0}
    _, scaled, _ = echo_pool(journey.namespace, autoscaling=bounds)

    with watched(journey, "deployment/echo", "{.spec.replicas}") as seen:
        journey.apply(scaled)  # `replicas` is gone in the same edit, so the schema's default of 1 comes in
        wait_until(lambda: journey.kubectl.find(journey.namespace, "hpa", "echo"), "the autoscaler")
        await_scale(journey, "echo", lambda wanted: wanted == 3)
        journey.apply(node)
        journey.await_gone("hpa")
        await_scale(journey, "echo", lambda wanted: wanted == 3)
        journey.kube("annotate", "deployment/echo", "journey=ends")
        wait_until(lambda: len(seen()) > 1, "the watch to have seen the last change")
        values = set(seen())

    assert values == {"3"}
    assert journey.await_pods("echo", 3) == before, "no pod was replaced"


def zones_told(journey, node: str) -> set[str]:
    """The zones of a pool's instances, as far as status tells them yet."""
    return {instance["zone"] for instance in journey.instances(node) if "zone" in instance}


@contextlib.contextmanager
def watched(journey, name: str, path: str) -> Iterator[Callable[[], list[str]]]:
    """Every value of a field while the context is open, as a watch tells them."""
    words = ["-n", journey.namespace, "get", name, "--watch", "-o", f'jsonpath={path}{{"\\n"}}']
    with tempfile.NamedTemporaryFile("w+") as out:
        command = [str(journey.kubectl.program), f"--kubeconfig={journey.kubectl.kubeconfig}", *words]
        with subprocess.Popen(command, stdout=out) as process:

            def seen() -> list[str]:
                return Path(out.name).read_text().split()

            try:
                wait_until(seen, "the watch")
                yield seen
            finally:
                process.terminate()


def await_scale(journey, node: str, holds) -> None:
    """Wait until AgentNode/scale says what is wanted."""

    def look() -> bool:
        wanted = journey.node(node)["spec"]["replicas"]
        if not holds(wanted):
            autoscaler = journey.kubectl.find(journey.namespace, "hpa", node) or {}
            raise NotYet(f"{wanted} are wanted; {autoscaler.get('status')}")
        return True

    wait_until(look, f"another scale of {node}", 180)


def await_linked(journey, agent_type: str, count: int) -> None:
    """Wait until the gateway can choose among so many instances."""

    def look() -> bool:
        found = journey.rest.get(f"agents/{agent_type}/instances").body["instances"]
        if len(found) != count:
            raise NotYet(f"{len(found)} are linked")
        return True

    wait_until(look, f"{count} instances of {agent_type} at the gateway")


WORKS = """
import asyncio
from switchboard import agent

@agent
async def work(seconds: float) -> float:
    await asyncio.sleep(seconds)
    return seconds

@agent
async def echo(text: str) -> str:
    return text
"""


@pytest.mark.parametrize(
    "seconds",
    [pytest.param(75, id="a minute"), pytest.param(300, id="minutes", marks=pytest.mark.long)],
)
def test_a_pool_that_shrinks_keeps_the_pod_with_work_and_loses_no_message(journey, seconds):
    journey.apply(
        code(journey.namespace, "mixed", app=WORKS),
        agent_node(journey.namespace, "mixed", replicas=3, drainSeconds=seconds + 30),
        agent(journey.namespace, "work", "mixed", "app:work", timeoutSeconds=seconds + 60),
        agent(journey.namespace, "echo", "mixed"),
    )
    journey.await_ready(nodes=("mixed",), agents=("work", "echo"))
    await_linked(journey, "work", 3)

    def send():
        return journey.client.request("work", seconds, namespace=journey.namespace, timeout_s=seconds + 60)

    with ThreadPoolExecutor(1) as pool, journey.traffic(Load("echo", "hello", senders=2, per_second=10)) as tally:
        answer = pool.submit(send)
        busy = await_busy(journey, "mixed")
        journey.kube("scale", f"{AGENT_NODES}/mixed", "--replicas=1")
        left = journey.await_pods("mixed", 1)
        tally.wait_for(20)
        finished = answer.result(seconds + 90)

    assert left == {busy}
    assert (finished.instance, finished.value) == (busy, seconds)
    require_no_failure(tally)


def await_busy(journey, node: str) -> str:
    """Wait until exactly one instance is told to be busy, as status tells it: half a minute after it began."""

    def look() -> str:
        busy = [told["name"] for told in journey.instances(node) if told["activity"] != "Idle"]
        if len(busy) != 1:
            raise NotYet(f"{busy} are busy")
        return busy[0]

    name: str = wait_until(look, f"one busy instance of {node}", 120)
    return name


def test_a_pool_wakes_for_a_held_call_and_sleeps_again_when_it_is_idle(journey):
    bounds = {"minReplicas": 0, "maxReplicas": 2, "idleSeconds": 15, "cpuUtilization": 500, "memoryUtilization": 0}
    map_, node, bound = echo_pool(journey.namespace, replicas=0, autoscaling=bounds)
    journey.apply(map_, node, bound)
    journey.await_reason(AGENT_NODES, "echo", "Ready", "ScaledToZero")
    journey.await_condition(AGENTS, "echo")
    assert journey.pods("echo") == []

    assert journey.ask("echo", "good morning", timeout_s=120) == "good morning"
    assert journey.ask("echo", "again") == "again", "it is awake"
    wait_until(lambda: messages_told(journey, "echo") == 2, "the registry to tell of two messages")
    wide = journey.kube("get", AGENT_NODES, "echo", "-o", "wide")
    journey.await_gone("pods")
    message = journey.await_reason(AGENT_NODES, "echo", "Ready", "ScaledToZero")
    assert journey.ask("echo", "a second morning", timeout_s=120) == "a second morning"

    assert message
    assert "1" in wide
    assert cold_starts(journey, "echo") == 2


def messages_told(journey, type_: str) -> int:
    """How many messages the instances of a type have had, as the query API tells it."""
    return sum(one.load.messages for one in journey.client.instances(namespace=journey.namespace, type=type_).instances)


def cold_starts(journey, agent_name: str) -> float:
    """How many cold starts of an agent the gateways have measured."""
    labels = {"agent": agent_name, "namespace": journey.namespace}
    return count_of(journey.kubectl, "switchboard_cold_start_seconds_count", **labels)
