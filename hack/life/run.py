"""The steps of the run, and what is looked up between them."""

import contextlib
import datetime
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from demo.screen import ClaimBroken, Screen
from live.gateway import Address
from live.kubectl import AGENT_NODES, AGENTS, Kubectl, condition
from live.outcomes import OK, Outcome
from live.steady import Plan, Steady, steady_load
from live.waiting import NotYet, wait_until

from life.agents import LONG
from life.delays import Steps
from life.moments import Moment, Record, short_name
from life.page import Run
from life.watching import objects, watch
from switchboard import SwitchboardError, SyncClient

Json = dict[str, Any]
HERE: Final = Path(__file__).parent
NAMESPACE: Final = "life"
POOL: Final = "writers"
# 12 calls of 0.75 s inside the hosts: three times what the pool wants of one instance
RATE: Final = 16.0
MOST: Final = 3
STEP_S: Final = 240.0
CALL_S: Final = 200.0


@dataclass(frozen=True, slots=True)
class Stage:
    """What every step needs. notes: what the run did, with the time."""

    screen: Screen
    kubectl: Kubectl
    client: SyncClient
    address: Address
    notes: list[Moment] = field(default_factory=list)

    def note(self, event: str) -> float:
        """Note that something was done now; the time."""
        self.notes.append(Moment(time.monotonic(), event))
        return self.notes[-1].at_s

    def node(self) -> Json:
        """The AgentNode as it is now; empty when it is not there."""
        return self.kubectl.find(NAMESPACE, AGENT_NODES, POOL) or {}


def record_run(screen: Screen, kubectl: Kubectl, address: Address, sync_s: float) -> Run:
    """The whole run, watched. Leaves nothing behind. sync_s: how often the cluster's autoscaler looks."""
    everything = ("-n", NAMESPACE, "-o", "json", "--output-watch-events")
    with own_namespace(kubectl), contextlib.ExitStack() as stack:
        stage = Stage(screen, kubectl, stack.enter_context(SyncClient(address.grpc, timeout_s=CALL_S)), address)
        kinds = (AGENT_NODES, "pods", "hpa")
        nodes, pods, scalers = [stack.enter_context(watch(kubectl, kind, *everything)) for kind in kinds]
        wide = stack.enter_context(watch(kubectl, AGENT_NODES, "-n", NAMESPACE, "-o", "wide"))
        began_s = apply(stage)
        steps, top = live_through(stage, sync_s)
        conditions = conditions_of(kubectl)
    record = Record(objects(nodes), objects(pods), objects(scalers), steps.calls, stage.notes)
    return Run(began_s, conditions, (HERE / "pool.yaml").read_text(), record, steps, list(wide), top)


def apply(stage: Stage) -> float:
    """Make the pool, which begins asleep; when."""
    code = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": f"{POOL}-code", "namespace": NAMESPACE},
        "data": {"app.py": (HERE / "agents.py").read_text()},
    }
    with stage.screen.step("the pool is there, and sleeps", 5):
        began_s = stage.note("`kubectl apply`: the pool, asleep, and its agent")
        stage.kubectl.apply(code)
        stage.kubectl("apply", "-n", NAMESPACE, "-f", str(HERE / "pool.yaml"))
        await_asleep(stage)
        wait_until(
            lambda: condition(stage.kubectl.find(NAMESPACE, AGENTS, "writer"), "Ready").get("status") == "True",
            "the agent to be Ready",
        )
    return began_s


def live_through(stage: Stage, sync_s: float) -> tuple[Steps, str]:
    """From the first call to the pool's second sleep; what was sent, and what `switchboard top` said meanwhile."""
    with stage.screen.step("a call wakes the pool, and is answered", 10):
        held = call(stage, "a short text", "a call that is held")
    with stage.screen.step("the autoscaler reads its number", 15):
        await_scaler(stage)
    with ThreadPoolExecutor(1) as pool:
        with steady_load(stage.address.grpc, NAMESPACE, Plan("writer", RATE, timeout_s=CALL_S)) as load:
            stage.notes.append(Moment(load.outcomes()[0].sent_s, f"**load step**: {RATE:g} calls of 0.75 s a second"))
            with stage.screen.step(f"{MOST} instances answer", 30):
                wait_until(lambda: answering(load), f"answers of {MOST} instances", STEP_S)
            long = pool.submit(call, stage, LONG, "a call of 90 s")
            load.wait_for(int(RATE) * 5)
        require_ends(load)
        stage.notes.append(Moment(max(o.ended_s for o in load.outcomes()), "**load gone**: its last call is answered"))
        top = show_top(stage)
        with stage.screen.step("the idle pods go", 40):
            wait_until(lambda: wanted(stage) == 1, "the autoscaler to want one instance", STEP_S)
            wait_until(lambda: len(stage.kubectl.items(NAMESPACE, "pods")) == 1, "two pods to be gone", STEP_S)
        with stage.screen.step("the long call is answered", 60):
            steps = Steps(held, long.result(CALL_S), load.outcomes(), sync_s)
    with stage.screen.step("the pool sleeps again", 30):
        await_asleep(stage)
    return steps, top


def call(stage: Stage, text: str, what: str) -> Outcome:
    """One call, noted; its end."""
    sent_s = stage.note(f"{what} is sent")
    code, delivered, instance = OK, "", ""
    try:
        answer = stage.client.request("writer", text, namespace=NAMESPACE, timeout_s=CALL_S)
        instance = answer.instance
    except SwitchboardError as error:
        code = error.code
    ended_s = stage.note(f"{what} ends: {code}{f', by {short_name(instance)}' if instance else ''}")
    return Outcome(sent_s, ended_s - sent_s, 0.0, code, delivered, instance)


def answering(load: Steady) -> bool:
    """Whether all instances that there may be have answered. Raises NotYet."""
    seen = load.figures()
    if len(seen.by_instance) < MOST:
        raise NotYet(f"{dict(seen.by_instance)}, failed: {dict(seen.failed)}")
    return True


def require_ends(load: Steady) -> None:
    """Raises ClaimBroken unless every call of the load has ended exactly once."""
    ended = len(load.outcomes())
    if ended != load.sent or load.ended_again:
        raise ClaimBroken(f"{load.sent} calls were sent, {ended} ended, {load.ended_again} twice")


def wanted(stage: Stage) -> int:
    """How many instances are wanted now."""
    return int(stage.node()["spec"]["replicas"])


def await_asleep(stage: Stage) -> None:
    """Wait until the pool says that it sleeps, and no pod is left."""

    def look() -> bool:
        told = condition(stage.node(), "Ready")
        pods = stage.kubectl.items(NAMESPACE, "pods")
        if told.get("reason") != "ScaledToZero" or pods:
            raise NotYet(f"{told or 'no condition'}, {len(pods)} pods")
        return True

    wait_until(look, "the pool to sleep", STEP_S)


def await_scaler(stage: Stage) -> None:
    """Wait until the autoscaler has read the pool's number."""

    def look() -> bool:
        found = stage.kubectl.find(NAMESPACE, "hpa", POOL) or {}
        told = {one["type"]: one["status"] for one in found.get("status", {}).get("conditions", ())}
        if told.get("ScalingActive") != "True":
            raise NotYet(found.get("status", "there is none"))
        return True

    wait_until(look, "the autoscaler to read the number", STEP_S)


def show_top(stage: Stage) -> str:
    """What `switchboard top` says of the pool."""
    program = str(Path(sys.executable).parent / "switchboard")
    command = [program, "top", POOL, "--namespace", NAMESPACE, "--gateway", stage.address.grpc]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


def conditions_of(kubectl: Kubectl) -> str:
    """When and where the run was, and how busy the machine."""
    when = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M")
    nodes = kubectl.items("default", "nodes")
    version = nodes[0]["status"]["nodeInfo"]["kubeletVersion"]
    load = os.getloadavg()[1]
    return (
        f"*{when} UTC, Kubernetes {version}, {len(nodes)} nodes, on a machine with {os.cpu_count()} processors "
        f"and a load of {load:.1f} over the five minutes of the run.*"
    )


@contextlib.contextmanager
def own_namespace(kubectl: Kubectl) -> Iterator[None]:
    """The run's namespace, new, and gone after it."""
    kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found", timeout_s=STEP_S)
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    kubectl.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": labels}})
    try:
        yield
    finally:
        kubectl("delete", "namespace", NAMESPACE, timeout_s=STEP_S)
