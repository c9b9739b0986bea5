"""Every surface of the installed gateway, through its Service: the same agents, the same answers."""

import asyncio
import contextlib
import json
import threading
import urllib.request
from collections.abc import Iterator
from typing import Any

import aiohttp
import grpc
from grpc_health.v1 import health_pb2
from live.kubectl import AGENT_NODES
from live.waiting import NotYet, wait_until
from pools import agent, agent_node, code

from switchboard_wire import names
from switchboard_wire.v1 import frames_pb2 as pb
from switchboard_wire.v1 import gateway_pb2 as api

WAIT_S = 60.0
APP = """
from collections.abc import AsyncIterator
from switchboard import Context, agent

@agent
async def echo(text: str, ctx: Context) -> str:
    return f"{ctx.key}{text}"

@agent
async def words(text: str) -> AsyncIterator[str]:
    for word in text.split():
        yield word

@agent
async def tells(text: str, ctx: Context) -> list[str]:
    return [str(delivery.value) for delivery in await ctx.publish("news", text, source="t-")]
"""
NEWS = [{"type": "news"}]


def test_every_surface_reaches_the_same_agents(journey):
    space = journey.namespace
    journey.apply(
        code(space, "pool", app=APP),
        agent_node(space, "pool", replicas=2),
        agent(space, "echo", "pool", topics=NEWS),
        agent(space, "second", "pool", topics=NEWS),
        agent(space, "words", "pool", "app:words"),
        agent(space, "tells", "pool", "app:tells", topics=NEWS),
    )
    journey.await_ready(nodes=("pool",), agents=("echo", "second", "words", "tells"))

    assert journey.ask("echo", "session") == "session"
    assert journey.rest.execute("agents/echo", "REST").body["output"] == "REST"
    with channel(journey) as plain:
        answer = unary(plain, names.REQUEST_METHOD, message(space, "echo", b"unary"), api.Answer)
        assert (answer.data, answer.agent) == (b"unary", "echo")
        checked = unary(
            plain, "/grpc.health.v1.Health/Check", health_pb2.HealthCheckRequest(), health_pb2.HealthCheckResponse
        )
        assert checked.status == health_pb2.HealthCheckResponse.SERVING
    assert events(journey, "words", "a b c") == ["a", "b", "c"]
    assert asyncio.run(over_websocket(journey)) == {1: "socket", 2: ["a", "b", "c"]}

    deliveries = journey.client.publish("news", "hi", source="k-", namespace=space)
    assert [(d.agent.type, d.value) for d in deliveries if d.ok] == [
        ("echo", "k-hi"),
        ("second", "k-hi"),
        ("tells", ["t-hi", "t-hi"]),
    ]
    assert journey.ask("tells", "inside") == ["t-inside", "t-inside"], "who publishes gets no copy"
    over_rest = journey.rest.publish("news", "rest", source="r-").body
    assert [entry.get("output") for entry in over_rest["results"]][:2] == ["r-rest", "r-rest"]
    assert {d.value for d in wait_until(lambda: broadcast(journey), "answers of all pods")} == {"all"}


def test_lists_descriptions_and_watches_follow_a_pool_that_scales(journey):
    space = journey.namespace
    journey.apply(code(space, "pool", app=APP), agent_node(space, "pool", replicas=1), agent(space, "echo", "pool"))
    journey.await_ready(nodes=("pool",), agents=("echo",))

    with channel(journey) as plain, watching(plain, space) as told:
        wait_until(lambda: told and told[-1] == {"echo": 1}, "the first list")
        journey.kube("scale", f"{AGENT_NODES}/pool", "--replicas=3")
        wait_until(lambda: told[-1] == {"echo": 3}, "a list of three instances", 180)
        [agent_] = described(journey, 3)
        journey.kube("scale", f"{AGENT_NODES}/pool", "--replicas=1")
        wait_until(lambda: told[-1] == {"echo": 1}, "a list of one instance", 180)

    instances = agent_.instances
    assert {(one.state, one.circuit, one.node) for one in instances} == {("Ready", "closed", "pool")}
    assert len({one.zone for one in instances}) == 2, "the zones are told"
    assert all(one.weight > 0 and one.concurrency == 16 for one in instances)
    [left] = wait_until(lambda: ready_ones(journey, 1), "one instance at the replica that answers")
    by_zone = journey.rest.get(f"agents?zone={left['zone']}&state=Ready").body["agents"]
    assert [found["name"] for found in by_zone] == ["echo"]
    assert journey.client.agents(namespace=space, state="Offline") == []
    assert left["circuit"] == "closed"


def broadcast(journey: Any) -> list[Any]:
    """What a broadcast brings, once every pod has a part in it: a pod that is ready may not be linked yet."""
    found: list[Any] = journey.client.broadcast("echo", "all", namespace=journey.namespace)
    answered, pods = {d.instance for d in found if d.ok}, journey.pod_names("pool")
    if answered != pods:
        raise NotYet(f"{answered} of {pods} answered")
    return found


def ready_ones(journey: Any, count: int) -> list[Any]:
    """The ready instances, once the replica that answers has so many."""
    found: list[Any] = journey.rest.get("agents/echo/instances?state=Ready").body["instances"]
    if len(found) != count:
        raise NotYet(found)
    return found


@contextlib.contextmanager
def channel(journey: Any) -> Iterator[Any]:
    with grpc.insecure_channel(journey.gateway.grpc) as plain:
        yield plain


def unary(plain: Any, path: str, request: Any, answer: Any) -> Any:
    method = plain.unary_unary(path, lambda given: given.SerializeToString(), answer.FromString)
    return method(request, timeout=WAIT_S)


def message(space: str, type_: str, data: bytes) -> api.Message:
    opened = pb.Open(target=pb.Target(namespace=space, type=type_))
    return api.Message(open=opened, data=data, content_type="text/plain")


def events(journey: Any, type_: str, text: str) -> list[str]:
    """What comes as server-sent events before the last, which says that it is done."""
    headers = {"Content-Type": "application/json", "Accept": "text/event-stream"}
    body = json.dumps({"input": text}).encode()
    request = urllib.request.Request(journey.rest.url(f"agents/{type_}/execute"), data=body, headers=headers)
    with urllib.request.urlopen(request, timeout=WAIT_S) as response:
        told = response.read().decode()
    assert "event: done" in told
    return [line.removeprefix("data: ") for line in told.partition("event: done")[0].splitlines() if line]


async def over_websocket(journey: Any) -> dict[int, object]:
    """Two calls at once on one socket: one whole answer, and one in pieces."""
    found: dict[int, Any] = {}
    pieces: list[str] = []
    space = journey.namespace
    async with (
        asyncio.timeout(WAIT_S),
        aiohttp.ClientSession() as client,
        client.ws_connect(f"http://{journey.gateway.http}/ws") as socket,
    ):
        assert (await socket.receive_json())["kind"] == "HELLO"
        calls = {1: ("echo", "socket"), 2: ("words", "a b c")}
        for call, (type_, text) in calls.items():
            target = {"namespace": space, "type": type_}
            await socket.send_json({"kind": "OPEN", "call": call, "target": target, "input": text})
        while len(found) < len(calls):
            frame = await socket.receive_json()
            if frame["kind"] == "DATA":
                pieces.append(frame["output"])
            elif frame["kind"] == "CLOSE":
                assert "error" not in frame, frame
                found[frame["call"]] = frame["output"] if frame["call"] == 1 else pieces
    return found


@contextlib.contextmanager
def watching(plain: Any, space: str) -> Iterator[list[dict[str, int]]]:
    """The lists of instances by agent that a watch tells, as they come."""
    told: list[dict[str, int]] = []
    method = plain.unary_stream(
        names.WATCH_AGENTS_METHOD, api.ListAgentsRequest.SerializeToString, api.AgentsUpdate.FromString
    )
    call = method(api.ListAgentsRequest(namespace=space))

    def read() -> None:
        known: dict[str, int] = {}
        with contextlib.suppress(grpc.RpcError):  # cancelled below
            for update in call:
                known.update({found.name: found.instances_ready for found in update.changed})
                for gone in update.removed:
                    known.pop(gone.name, None)
                told.append(dict(known))

    reader = threading.Thread(target=read)
    reader.start()
    try:
        yield told
    finally:
        call.cancel()
        reader.join(WAIT_S)


def described(journey: Any, count: int) -> Any:
    """The Agents of type echo, once the replica that answers has so many instances of them and knows their zones."""

    def look() -> Any:
        found = journey.client.describe("echo", namespace=journey.namespace)
        zones = [one.zone for agent_ in found.agents for one in agent_.instances]
        if found.instances_ready != count or not all(zones):
            raise NotYet(found)
        return found.agents

    return wait_until(look, f"{count} instances in the description")
