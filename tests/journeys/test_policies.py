"""What an Agent declares about instances that fail: circuits, hedging, and the health of an HTTP server."""

import json
from collections import Counter

import pytest
from gateways import count_of
from journey import require_no_failure
from live.kubectl import AGENTS, is_ready
from live.traffic import Load
from live.waiting import NotYet, wait_until
from pools import REQUESTS, agent, agent_node, code

# Which instance misbehaves: the one that this key leads to
VICTIM = "switch/victim"
APP = """
import asyncio
from switchboard import agent

well = asyncio.Event()
well.set()

@agent
async def switch(how: str) -> str:
    well.set() if how == "well" else well.clear()
    return how

@agent
async def stalls(text: str) -> str:
    await well.wait()
    return text

@agent
async def fails(text: str) -> str:
    if not well.is_set():
        raise RuntimeError("not well")
    return text
"""
SERVER = """
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

class Shout(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.reply(503 if Path("/tmp/unwell").exists() else 200, b"")

    def do_POST(self):
        self.reply(200, self.rfile.read(int(self.headers["Content-Length"])).upper())

    def reply(self, status, body):
        self.send_response(status)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass

ThreadingHTTPServer(("127.0.0.1", 8000), Shout).serve_forever()
"""
# So many that all instances are asked through both gateways, but for once in a million runs
CALLS = 40
# Longer than the test: only a reset closes it
FOR_LONG = {"consecutiveFailures": 2, "openSeconds": 3600, "successesToClose": 1}


@pytest.fixture(scope="module")
def pools(shared_journey):
    """Two instances of Python agents and two of an HTTP server, for all tests here."""
    space = shared_journey.namespace
    container = {"name": "agent", "command": ["python3", "/agents/server.py"], "resources": {"requests": REQUESTS}}
    http = {"port": 8000, "path": "/run", "healthPath": "/healthz"}
    hedging = {"retries": {"attempts": 1, "idempotent": True}, "hedging": {"delayMs": 100, "attempts": 2}}
    shared_journey.apply(
        code(space, "python", app=APP),
        agent_node(space, "python", replicas=2),
        agent(space, "switch", "python", "app:switch", loadBalancing={"keyAffinity": "Required"}),
        agent(space, "stalls", "python", "app:stalls", **hedging),
        agent(space, "fails", "python", "app:fails", retries={"attempts": 1}, circuitBreaker=FOR_LONG),
        code(space, "http", server=SERVER),
        agent_node(space, "http", replicas=2, template={"spec": {"containers": [container]}}),
        agent(space, "shout", "http", handler={"http": http}),
    )
    shared_journey.await_ready(nodes=("python", "http"), agents=("switch", "stalls", "fails", "shout"))
    for name in ("python", "http"):
        shared_journey.await_pods(name, 2)
    return shared_journey


def test_a_hedge_answers_for_an_instance_that_stalls(pools):
    victim = told(pools, "stalled")
    try:

        def hedge_won() -> bool:
            answers = tried(pools, "stalls")
            assert not answers.keys() & {victim, ""}, "a call was not answered by the other"
            won = count_of(pools.kubectl, "switchboard_gateway_hedges_won_total", **labels(pools, "stalls"))
            if not won:
                raise NotYet(f"{answers} without a hedge")
            return True

        wait_until(hedge_won, "a hedge that answered first")
    finally:
        pools.tell(VICTIM, "well", victim)


def test_an_http_server_that_is_unwell_gets_no_calls_until_it_is_well(pools):
    victim, other = sorted(pools.pod_names("http"))
    run = ("exec", victim, "-c", "agent", "--", "python3", "-c")

    with pools.traffic(Load("shout", "hello", senders=4, per_second=40)) as tally:
        pools.kube(*run, "open('/tmp/unwell', 'w')")
        wait_until(lambda: instances_that_answer(pools, "shout") == {other}, "all answers to come from the other")
        wait_until(lambda: ready_pods(pools) == {other}, "its pod not to be ready")
        assert instances_that_answer(pools, "shout") == {other}
        pools.kube(*run, "import os; os.remove('/tmp/unwell')")
        wait_until(lambda: instances_that_answer(pools, "shout") == {victim, other}, "answers of both")
        wait_until(lambda: ready_pods(pools) == {victim, other}, "both pods to be ready")

    require_no_failure(tally)


def test_circuits_open_and_are_reset_and_kubectl_tells_both(pools):
    victim = told(pools, "broken")
    try:

        def opened() -> list[str]:
            instances_that_answer(pools, "fails")
            return notes(pools, "CircuitOpened")

        [note, *_] = wait_until(opened, "the Event of an open circuit")
        wait_until(lambda: "" not in tried(pools, "fails"), "both gateways to leave it alone")
    finally:
        pools.tell(VICTIM, "well", victim)
    assert victim in note
    assert victim not in instances_that_answer(pools, "fails"), "it is well, but left alone as declared"

    pools.kube("annotate", AGENTS, "fails", "--overwrite", "switchboard.dev/reset-circuits=now")

    wait_until(lambda: victim in instances_that_answer(pools, "fails"), "answers after the reset")
    # Of one Agent there is one Event a minute
    wait_until(lambda: notes(pools, "CircuitClosed"), "the Event of closed circuits", 180)


def told(journey, how: str) -> str:
    """Tell the instance of the key how to behave; its name."""
    return journey.client.request(VICTIM, how, namespace=journey.namespace).instance


def tried(journey, name: str) -> Counter[str]:
    """Who answered how many of some calls over new connections, which meet both gateways; "" stands for errors.

    Each call has another key: these lead to all instances, whatever their zone.
    """
    replies = [journey.rest.execute(f"agents/{name}", "hello", key=f"key-{number}") for number in range(CALLS)]
    return Counter(reply.body["instance"] if reply.status == 200 else "" for reply in replies)


def instances_that_answer(journey, name: str) -> set[str]:
    return set(tried(journey, name)) - {""}


def ready_pods(journey) -> set[str]:
    return {pod["metadata"]["name"] for pod in journey.pods("http") if is_ready(pod)}


def labels(journey, name: str) -> dict[str, str]:
    return {"agent": name, "namespace": journey.namespace}


def notes(journey, reason: str) -> list[str]:
    """What the Events of this reason say about Agent `fails`, as `kubectl get events` shows them."""
    about = f"involvedObject.name=fails,reason={reason}"
    found = json.loads(journey.kube("get", "events", f"--field-selector={about}", "-o", "json"))["items"]
    return [event["message"] for event in found]
