"""The acts of the demo. Each looks up in the cluster what it claims."""

import json
import re
import time
from dataclasses import dataclass
from typing import Final

from live.gateway import Rest
from live.kubectl import Kubectl
from live.release import NAMESPACE as SYSTEM
from live.release import install
from live.traffic import Load, Tally, traffic
from live.waiting import wait_until

from demo.pool import NAMESPACE, Pool, spread_rows
from demo.screen import WIDTH, Screen
from switchboard import Call, SyncClient

FEWEST: Final = 3
SHORT_KINDS: Final = {
    "agentnode.switchboard.dev": "agentnode",
    "agent.switchboard.dev": "agent",
    "horizontalpodautoscaler.autoscaling": "hpa",
}
SPREAD_CALLS: Final = 1000
# An instance takes 4 at once. With fewer under way than all can take, the gateway's own zone would do with them
AT_A_TIME: Final = 32
BURN: Final = Load("counter", 20, senders=24)
QUESTION: Final = "Hello world. The agent answers everywhere"
BY_ID: Final = {
    "translator": ("the agent answers", "le agent répond"),
    "summarizer": ("One thing. And another. And more", "One thing."),
    "classifier": ("Is it so?", "question"),
}


@dataclass(frozen=True, slots=True)
class Stage:
    """What every act needs."""

    screen: Screen
    kubectl: Kubectl
    pool: Pool


def install_chart(stage: Stage) -> None:
    screen, kubectl = stage.screen, stage.kubectl
    screen.act("Switchboard, installed with Helm")
    nodes = kubectl.items("default", "nodes")
    zones = {node["metadata"]["labels"].get("topology.kubernetes.io/zone", "") for node in nodes} - {""}
    version = nodes[0]["status"]["nodeInfo"]["kubeletVersion"]
    screen.claim(f"a cluster of {len(nodes)} nodes in {len(zones)} zones, Kubernetes {version}", len(zones) >= 2, zones)
    with screen.step("helm upgrade --install switchboard charts/switchboard", 20):
        install(kubectl)
    for name in ("switchboard-operator", "switchboard-gateway"):
        found = kubectl.find(SYSTEM, "deployment", name) or {"spec": {}, "status": {}}
        ready, wanted = found["status"].get("readyReplicas", 0), found["spec"].get("replicas", -1)
        screen.claim(f"{name}: {ready} of {wanted} replicas ready", ready == wanted, found["status"])


def start_agents(stage: Stage) -> None:
    screen, pool = stage.screen, stage.pool
    screen.act("One pool, three instances, five agents: code from a ConfigMap")
    pool.apply()
    with screen.step("kubectl apply -f examples/demo/demo.yaml; all is ready", 15):
        wait_until(lambda: pool.is_settled(FEWEST), f"{FEWEST} instances", 240)
        wait_until(lambda: pool.agents_are_ready(FEWEST), "five agents to be ready")
    zones = pool.zones()
    screen.claim(
        f"{len(zones)} instances run in {len(set(zones.values()))} zones", len(set(zones.values())) >= 2, zones
    )
    show_kubectl(stage, "agentnodes,agents")


def send_messages(stage: Stage, client: SyncClient, rest: Rest) -> None:
    screen = stage.screen
    screen.act("A message to each agent: by its id, and by what it can do")
    for name, (text, expected) in BY_ID.items():
        answer = client.request(f"{name}/demo", text, namespace=NAMESPACE)
        screen.claim(f"{name}/demo: {text!r} → {answer.text!r}", answer.text == expected, f"wanted {expected!r}")
    counted = client.request("counter/demo", 5, namespace=NAMESPACE).value
    screen.claim(f"counter/demo: 5 ms of work → counted to {counted}", isinstance(counted, int) and counted > 0)
    found = client.request("researcher/demo", QUESTION, namespace=NAMESPACE).value
    good = found == {"classify": "statement", "summarize": "Hello world.", "translate": found.get("translate")}
    screen.claim("researcher/demo asked three others by capability, and has all answers", good, found)
    skills = {"translate": "hello", "summarize": "A. B", "classify": "So", "count": 1, "research": "Why?"}
    answered = {
        skill: client.request(f"capability:{skill}", given, namespace=NAMESPACE) for skill, given in skills.items()
    }
    screen.claim(f"by capability: {', '.join(answered)}", all(answer.data for answer in answered.values()), answered)
    reply = rest.execute("agents/translator", "hello world")
    command = """curl -H 'Content-Type: application/json' -d '{"input": "hello world"}' \\"""
    shown = {name: reply.body.get(name) for name in ("output", "agent")}
    screen.show(f"{command}\n     {rest.url('agents/translator/execute')}", f"{json.dumps(shown)[:-1]}, …}}")
    screen.claim("over REST the same agent answers", reply.body.get("output") == "bonjour monde", reply)


def show_spread(stage: Stage, client: SyncClient) -> None:
    screen, zones = stage.screen, stage.pool.zones()
    screen.act(f"The balance: {SPREAD_CALLS:,} messages, {AT_A_TIME} at a time")
    began, tally = time.monotonic(), Tally()
    call = Call("translator", "the agent answers", {"namespace": NAMESPACE})
    for answer in client.gather([call] * SPREAD_CALLS, limit=AT_A_TIME):
        if isinstance(answer, Exception):
            tally.count_failure(answer)
        else:
            tally.count_answer(answer.instance)
    took_s = time.monotonic() - began
    screen.table(spread_rows(tally.by_instance, zones))
    screen.claim(
        f"all answered, {SPREAD_CALLS / took_s:,.0f} a second",
        tally.answered == SPREAD_CALLS,
        tally.failures,
    )
    screen.claim("every instance took part", set(tally.by_instance) == set(zones), f"there are {sorted(zones)}")


def scale_and_kill(stage: Stage, client: SyncClient) -> None:
    screen, pool = stage.screen, stage.pool
    screen.act("Load: the autoscaler adds instances, and one is killed meanwhile")
    with traffic(client, BURN, namespace=NAMESPACE) as tally:
        tally.wait_for(20)
        with screen.step("the autoscaler adds instances by CPU, through AgentNode/scale", 40):
            wait_until(lambda: pool.desired() > FEWEST, f"the autoscaler ({pool.cpu_told()})", 180)
            wait_until(lambda: pool.is_settled(pool.desired()), "the new instances to be Up")
        tally.wait_for(50)
        before = pool.zones()
        screen.claim(f"{len(before)} instances are Up, {tally.answered} calls answered", tally.answered, tally.failures)
        victim = max(before, key=lambda name: tally.by_instance[name])
        stage.kubectl("delete", "pod", victim, "-n", NAMESPACE, "--grace-period=0", "--force", "--wait=false")
        screen.claim(f"{victim} is killed", victim not in {pod["metadata"]["name"] for pod in pool.pods()})
        with screen.step("the pool is whole again, and the newcomer answers", 8):
            wait_until(lambda: pool.is_settled(pool.desired()), "the replacement to be Up", 180)
            newcomers = pool.zones().keys() - before.keys()
            wait_until(lambda: newcomers <= tally.by_instance.keys(), f"answers of {sorted(newcomers)}")
    screen.table(spread_rows(tally.by_instance, pool.zones()))
    wait_until(pool.is_ready, "the pool to be ready")
    lost = tally.sent - tally.answered
    screen.claim(f"{tally.answered} calls of {tally.sent} answered: nothing lost", lost == 0, tally.failures)
    show_kubectl(stage, "agentnodes,pods,hpa")


def calm_down(stage: Stage, client: SyncClient) -> None:
    screen, pool = stage.screen, stage.pool
    screen.act("Calm: instances that are idle go, and nobody notices")
    with screen.step(f"back to {FEWEST} instances", 60):
        wait_until(lambda: pool.desired() == FEWEST and pool.is_settled(FEWEST), f"{FEWEST} instances", 300)
        wait_until(lambda: pool.agents_are_ready(FEWEST), "the agents' status to tell of it")
        wait_until(pool.nothing_terminates, "the last pod to be gone")
    answer = client.request("translator", "hello", namespace=NAMESPACE)
    screen.claim("the agents answer as before", answer.text == "bonjour", answer.text)
    show_kubectl(stage, "agentnodes,agents,pods,hpa")


def show_kubectl(stage: Stage, kinds: str) -> None:
    stage.screen.show(f"kubectl get {kinds} -n {NAMESPACE}", narrow(stage.kubectl("get", kinds, "-n", NAMESPACE)))


def narrow(text: str) -> str:
    """Tables of kubectl with names that lack their group, and with the columns pulled together, so that they fit."""
    tables = [narrow_table(table.splitlines()) for table in text.rstrip().split("\n\n")]
    return "\n".join(line for table in tables for line in table)


def narrow_table(lines: list[str]) -> list[str]:
    """One table; its head tells where columns begin."""
    starts = [found.start() for found in re.finditer(r"\S+", lines[0])]
    ends = [*starts[1:], None]
    rows = [[line[start:end].strip() for start, end in zip(starts, ends, strict=True)] for line in lines]
    for row in rows:
        kind, _, name = row[0].rpartition("/")
        row[0] = f"{SHORT_KINDS.get(kind, kind)}/{name}" if kind else name
    widths = [max(len(row[column]) for row in rows) for column in range(len(starts))]
    gap = " " * (2 if sum(widths) + 2 * len(widths) < WIDTH - 3 else 1)
    return [gap.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]


def say_what_next(stage: Stage, rest: Rest) -> None:
    screen = stage.screen
    screen.act("Yours to try")
    for line in (
        'eval "$(.venv/bin/python hack/cluster env)"  # for kubectl and helm',
        f"kubectl get agentnodes,agents -n {NAMESPACE} --watch",
        f"kubectl edit agent.switchboard.dev translator -n {NAMESPACE}",
        f"curl {rest.url('agents')}",
        "helm test switchboard -n switchboard-system --logs",
        f"kubectl delete namespace {NAMESPACE}     # the demo goes, the cluster stays",
        "make down                         # everything goes",
    ):
        screen.say(line)
