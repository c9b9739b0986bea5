"""The pool that is put under load, and what may be done to its pods."""

import contextlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from journey import READY_S, Journey
from live.kubectl import is_ready
from live.release import NAMESPACE as SYSTEM
from live.steady import Plan, Steady
from live.waiting import NotYet, wait_until
from pools import agent, agent_node, code

Json = dict[str, Any]

GATEWAY = "app.kubernetes.io/component=gateway"
SESSIONS = re.compile(r"^switchboard_gateway_sessions (\S+)", re.MULTILINE)
PODS = 4
# One attempt may take this long before another instance is asked, for the agents that may be asked twice
PER_TRY_S = 1
OPEN_S = 3
APP = """
import asyncio
import os
import threading
from pathlib import Path
from switchboard import agent

DOOMED = Path("/tmp/doomed")  # stays when the container is started again
if DOOMED.exists():
    threading.Timer(1.0, os._exit, [9]).start()
factor = 1.0

@agent
async def work(text: str) -> str:
    await asyncio.sleep(0.005 * factor)
    return text

@agent
async def control(text: str) -> str:
    global factor
    if text == "crash":
        DOOMED.touch()
        asyncio.get_running_loop().call_later(0.2, os._exit, 9)
    else:
        factor = float(text)
    return text
"""
# What a call means that was lost with its stream, and nothing else
HONEST_CODES = {"NODE_UNAVAILABLE", "DEADLINE_EXCEEDED"}
# One in so many of the calls that may not be delivered twice may be lost to a busy machine
LOST_TO_THE_MACHINE = 20
# The instance that this key leads to is the one that misbehaves
VICTIM = "control/victim"


def steady_pool(namespace: str) -> list[Json]:
    """`work` may be delivered twice, `once` may not; `control/KEY` changes the instance of the key."""
    patient = {"attempts": 5, "idempotent": True, "perTryTimeoutSeconds": PER_TRY_S}
    breaker = {"consecutiveFailures": 5, "openSeconds": OPEN_S, "successesToClose": 3}

    def working(name: str, strategy: str = "LeastConnections", **spec: Any) -> Json:
        balancing = {"strategy": strategy}
        return agent(namespace, name, "work", "app:work", loadBalancing=balancing, circuitBreaker=breaker, **spec)

    return [
        code(namespace, "work", app=APP),
        agent_node(namespace, "work", replicas=PODS, concurrency=64, queueLength=1000),
        working("work", retries=patient),
        working("once", timeoutSeconds=5),
        working("quickest", "ResponseTime", retries=patient),
        agent(namespace, "control", "work", "app:control", loadBalancing={"keyAffinity": "Required"}),
    ]


def await_whole(journey: Journey) -> None:
    """Wait until the pool has all its pods and both gateways may choose among them."""
    journey.await_ready(nodes=("work",), agents=("work", "once", "quickest", "control"))
    journey.await_pods("work", PODS)

    def look() -> bool:
        found = journey.rest.get("agents/work/instances").body["instances"]
        if len(found) != PODS:
            raise NotYet(f"{len(found)} are linked")
        return True

    wait_until(look, f"{PODS} instances at the gateway", READY_S)


def await_release(journey: Journey) -> None:
    """Wait until operator and gateway are whole again."""
    for name in ("switchboard-gateway", "switchboard-operator"):
        path = "{.status.readyReplicas}/{.status.replicas}/{.status.unavailableReplicas}"
        words = ("get", f"deployment/{name}", "-n", SYSTEM, "-o", f"jsonpath={path}")
        wait_until(lambda words=words: journey.kubectl(*words) == "2/2/", f"{name} to be whole", READY_S)


def spread_again(journey: Journey) -> None:
    """After a drain all pods are on one node, where nothing moves them: replace half of those that are so."""
    await_release(journey)
    await_whole(journey)
    selectors = ("gateway", "operator")
    pods = [(SYSTEM, f"app.kubernetes.io/component={name}") for name in selectors]
    for namespace, selector in [*pods, (journey.namespace, "switchboard.dev/agentnode=work")]:
        found = [pod for pod in journey.kubectl.items(namespace, "pods", selector) if is_ready(pod)]
        if len(found) > 1 and len({pod["spec"]["nodeName"] for pod in found}) == 1:
            names = [pod["metadata"]["name"] for pod in found]
            journey.kubectl("delete", "pod", "-n", namespace, *names[: len(names) // 2])
    await_release(journey)
    await_whole(journey)


def busiest(load: Steady) -> str:
    """The instance that has answered most."""
    return load.figures().by_instance.most_common(1)[0][0]


def busiest_gateway(journey: Journey) -> Json:
    """The replica with the most sessions."""
    pods = [pod for pod in journey.kubectl.items(SYSTEM, "pods", GATEWAY) if is_ready(pod)]

    def sessions(pod: Json) -> float:
        path = f"/api/v1/namespaces/{SYSTEM}/pods/{pod['metadata']['name']}:7490/proxy/metrics"
        return sum(float(count) for count in SESSIONS.findall(journey.kubectl("get", f"--raw={path}")))

    return max(pods, key=sessions)


def tell_victim(journey: Journey, what: str) -> str:
    """Tell the instance of the key how to behave; its name."""
    return journey.client.request(VICTIM, what, namespace=journey.namespace).instance


@dataclass(frozen=True, slots=True)
class Pair:
    """Two loads at the same time: calls that may be delivered twice, and calls that may not."""

    safe: Steady
    once: Steady


@contextlib.contextmanager
def both_loads(journey: Journey, rate: float, keys: int = 0) -> Iterator[Pair]:
    """Half of the rate each. keys: so many in turn; calls with a key go to its instance, whatever the zone."""
    half = rate / 2
    with (
        journey.steady(Plan("work", half, idempotent=True, keys=keys)) as safe,
        journey.steady(Plan("once", half, keys=keys)) as once,
    ):
        yield Pair(safe, once)


def require_undisturbed(pair: Pair) -> None:
    """Fail when what was done to others than gateways and instances has cost a call. After both loads.

    What stands still for 2.3 s on a busy machine loses its streams, and with them the calls that may not be delivered
    twice. Where figures are measured, the machine has nothing else to do, and none may fail.
    """
    safe, once = pair.safe.figures().failed, pair.once.figures()
    assert safe == {}, pair.safe.words
    if "RELIABILITY_OUT" in os.environ:
        assert once.failed == {}, pair.once.words
    assert {kind.partition(" ")[0] for kind in once.failed} <= HONEST_CODES, (once.failed, pair.once.words)
    assert once.failed.total() * LOST_TO_THE_MACHINE <= once.calls, (once.failed, once.calls)
