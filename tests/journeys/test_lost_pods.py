"""Pods that go without a word, under load."""

import os
import signal

import pytest
from journey import require_no_failure
from live.traffic import Load
from live.waiting import wait_until
from pod_processes import find_processes
from pools import REQUESTS, agent, agent_node, code

# More than all instances take at once, so that each of them has calls in it
BUSY = Load("work", "hello", senders=16)
# The message `die` ends the host as a bug would: no drain, no answer
FRAGILE = """
import asyncio
import os
from switchboard import agent

@agent
async def work(text: str) -> str:
    if text == "die":
        os._exit(9)
    await asyncio.sleep(0.05)
    return text
"""


def fragile_pool(namespace: str, **spec):
    container = {"name": "agent", "resources": {"requests": REQUESTS}}
    patient = {"attempts": 5, "idempotent": True}
    return [
        code(namespace, "work", app=FRAGILE),
        agent_node(namespace, "work", replicas=3, concurrency=4, template={"spec": {"containers": [container]}}),
        agent(namespace, "work", "work", "app:work", retries=patient, **spec),
    ]


def test_a_killed_pod_loses_no_idempotent_call_and_is_replaced(journey):
    journey.apply(*fragile_pool(journey.namespace))
    journey.await_ready(nodes=("work",), agents=("work",))
    journey.await_pods("work", 3)

    with journey.traffic(BUSY) as tally:
        tally.wait_for(50)
        victim = max(tally.by_instance, key=lambda name: tally.by_instance[name])
        journey.kube("delete", "pod", victim, "--grace-period=0", "--force", "--wait=false")
        after = wait_until(lambda: replaced(journey, victim), "the replacement to answer")
        newcomers = after - set(tally.by_instance)
        wait_until(lambda: newcomers <= set(tally.by_instance), "answers of the replacement")

    require_no_failure(tally)


def test_a_host_that_dies_loses_no_idempotent_call_and_comes_back(journey):
    pool = fragile_pool(journey.namespace)
    journey.apply(*pool, agent(journey.namespace, "dies", "work", "app:work", retries={"attempts": 1}))
    journey.await_ready(nodes=("work",), agents=("work", "dies"))
    journey.await_pods("work", 3)

    with journey.traffic(BUSY) as tally:
        reply = journey.rest.execute("agents/dies", "die")
        wait_until(lambda: restarted_and_ready(journey), "the host's restart")
        tally.wait_for(50)

    assert (reply.status, reply.body["code"]) == (503, "NODE_UNAVAILABLE")
    require_no_failure(tally)


@pytest.mark.skipif(os.geteuid() != 0, reason="SIGKILL for processes in pods needs root on the nodes' machine")
def test_a_sidecar_that_is_killed_loses_no_idempotent_call_and_comes_back(journey):
    journey.apply(*fragile_pool(journey.namespace))
    journey.await_ready(nodes=("work",), agents=("work",))
    journey.await_pods("work", 3)

    with journey.traffic(BUSY) as tally:
        tally.wait_for(50)
        pids = find_processes(journey.pods("work")[:1], "switchboard_sidecar")
        if not pids:
            pytest.skip("the pods' processes are not on this machine")
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: restarted_and_ready(journey), "the sidecar's restart")
        journey.await_pods("work", 3)
        tally.wait_for(50)

    require_no_failure(tally)


def replaced(journey, victim: str) -> set[str] | None:
    names = journey.await_pods("work", 3)
    return None if victim in names else names


def restarted_and_ready(journey) -> bool:
    kinds = ("containerStatuses", "initContainerStatuses")
    statuses = [status for pod in journey.pods("work") for kind in kinds for status in pod["status"].get(kind, ())]
    return any(status["restartCount"] for status in statuses) and all(status["ready"] for status in statuses)
