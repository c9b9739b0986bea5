"""Pods are replaced while messages flow, and no caller sees it."""

from journey import READY_S, require_no_failure
from live.kubectl import AGENT_NODES
from live.release import NAMESPACE as SYSTEM
from live.traffic import Load
from live.waiting import NotYet, wait_until
from pools import ECHO, REQUESTS, agent, agent_node, code, echo_pool

# Twice what two instances with a concurrency of 2 take: with fewer, the gateway's own zone would do
BUSY = 8
GATEWAY = "app.kubernetes.io/component=gateway"
SLOW = """
import asyncio
from switchboard import agent

@agent
async def echo(text: str) -> str:
    await asyncio.sleep(0.2)
    return text
"""
# Knows nothing of us: no drain, no health check, gone at the first SIGTERM
PLAIN_HTTP = """
import os
import signal
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Shout(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        time.sleep(0.2)
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.upper())

    def log_message(self, *args):
        pass

signal.signal(signal.SIGTERM, lambda *_: os._exit(0))  # with whatever is under way
ThreadingHTTPServer(("127.0.0.1", 8000), Shout).serve_forever()
"""


def test_a_changed_template_is_rolled_out_without_a_failed_message(journey):
    _, node, bound = echo_pool(journey.namespace, replicas=2, concurrency=2)
    journey.apply(code(journey.namespace, "echo", app=SLOW), node, bound)
    journey.await_ready(nodes=("echo",), agents=("echo",))
    before = journey.await_pods("echo", 2)

    with journey.traffic(Load("echo", "hello", senders=BUSY)) as tally:
        change_template(journey, "echo")
        await_new_pods(journey, "echo", before, 2)
        tally.wait_for(20)

    require_no_failure(tally)
    assert len(set(tally.by_instance) - before) == 2, "the new instances have answered"


def test_one_replica_is_replaced_without_a_failed_message(journey):
    journey.apply(*echo_pool(journey.namespace, replicas=1))
    journey.await_ready(nodes=("echo",), agents=("echo",))
    before = journey.await_pods("echo", 1)

    with journey.traffic(Load("echo", "hello", senders=4, per_second=40)) as tally:
        change_template(journey, "echo")
        await_new_pods(journey, "echo", before, 1)
        tally.wait_for(20)

    require_no_failure(tally)


def test_calls_are_held_while_the_only_instance_is_away(journey):
    journey.apply(*echo_pool(journey.namespace, replicas=1))
    journey.await_ready(nodes=("echo",), agents=("echo",))
    before = journey.await_pods("echo", 1)

    with journey.traffic(Load("echo", "hello", senders=4, per_second=20), timeout_s=READY_S) as tally:
        journey.kube("delete", "pod", *before, "--wait=false")
        await_new_pods(journey, "echo", before, 1)
        tally.wait_for(20)

    require_no_failure(tally)
    assert len(tally.by_instance) == 2


def test_an_http_agent_that_knows_nothing_of_us_drains_without_a_failed_message(journey):
    container = {"name": "agent", "command": ["python3", "/agents/server.py"], "resources": {"requests": REQUESTS}}
    journey.apply(
        code(journey.namespace, "shout", server=PLAIN_HTTP),
        agent_node(
            journey.namespace, "shout", replicas=2, concurrency=2, template={"spec": {"containers": [container]}}
        ),
        agent(journey.namespace, "shout", "shout", handler={"http": {"port": 8000, "path": "/agents/{agent}/execute"}}),
    )
    journey.await_ready(nodes=("shout",), agents=("shout",))
    before = journey.await_pods("shout", 2)
    assert journey.ask("shout", "hello") == "HELLO"

    with journey.traffic(Load("shout", "hello", senders=BUSY)) as tally:
        change_template(journey, "shout")
        await_new_pods(journey, "shout", before, 2)
        tally.wait_for(20)

    require_no_failure(tally)
    assert len(set(tally.by_instance) - before) == 2


def test_gateways_are_replaced_without_a_failed_message(journey):
    journey.apply(*echo_pool(journey.namespace, replicas=2))
    journey.await_ready(nodes=("echo",), agents=("echo",))
    gateway = "deployment/switchboard-gateway"

    with journey.traffic(Load("echo", "hello", senders=4, per_second=100)) as tally:
        journey.kubectl("rollout", "restart", gateway, "-n", SYSTEM)
        journey.kubectl("rollout", "status", gateway, "-n", SYSTEM, "--timeout=180s", timeout_s=200)
        wait_until(lambda: len(journey.kubectl.items(SYSTEM, "pods", GATEWAY)) == 2, "the old ones to be gone", 180)
        tally.wait_for(100)

    require_no_failure(tally)


def test_new_code_in_the_config_map_reaches_new_pods(journey):
    journey.apply(*echo_pool(journey.namespace))
    journey.await_ready(nodes=("echo",), agents=("echo",))
    journey.apply(code(journey.namespace, "echo", app=ECHO.replace("return text", "return text[::-1]")))
    before = journey.await_pods("echo", 1)

    change_template(journey, "echo")
    await_new_pods(journey, "echo", before, 1)

    assert journey.ask("echo", "abc") == "cba"


def change_template(journey, node: str) -> None:
    """Any change of the template replaces the pods."""
    patch = '{"spec": {"template": {"metadata": {"annotations": {"journey": "second"}}}}}'
    journey.kube("patch", AGENT_NODES, node, "--type=merge", "-p", patch)


def await_new_pods(journey, node: str, before: set[str], count: int) -> None:
    """Wait until none of the pods from before is left, not even on its way out."""

    def look() -> bool:
        found = journey.kubectl.items(journey.namespace, "pods", f"switchboard.dev/agentnode={node}")
        left = {pod["metadata"]["name"] for pod in found} & before
        if left:
            raise NotYet(f"{sorted(left)} are there")
        return True

    wait_until(look, "the old pods to be gone", 180)
    journey.await_pods(node, count)
