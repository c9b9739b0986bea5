"""The public gRPC methods on a real server, as a client without the SDK sees them."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from grpc import aio
from prometheus_client import CollectorRegistry
from rest_server import FakeInstance, echo, fails_with, hangs, make_policy

from switchboard import (
    AgentId,
    AgentNotFound,
    Client,
    InvalidAgentId,
    NodeUnavailable,
    Overloaded,
    SyncClient,
    ValidationFailed,
)
from switchboard.listing import AgentFilter
from switchboard_gateway.core import Core
from switchboard_gateway.instances import Instance
from switchboard_gateway.metrics import GatewayMetrics
from switchboard_gateway.public import PublicApi
from switchboard_gateway.public_answers import CODE_METADATA, ERROR_METADATA
from switchboard_gateway.sessions import Sessions
from switchboard_routing.policy import Subscription
from switchboard_wire import names
from switchboard_wire.calls import IncomingCall, Payload
from switchboard_wire.errors import ErrorValue
from switchboard_wire.limits import MAX_DATA_BYTES, SERVER_OPTIONS
from switchboard_wire.peer import local_pair
from switchboard_wire.v1 import frames_pb2 as pb
from switchboard_wire.v1 import gateway_pb2 as api

PATIENCE_S = 120.0


async def count(call: IncomingCall) -> None:
    for number in range(3):
        await call.send(str(number).encode(), "text/plain")
    await call.close(Payload(b"end", "text/plain"), processing_us=9)


VALUES = [{"a": 1}, "x" * MAX_DATA_BYTES, 2]


async def values(call: IncomingCall) -> None:
    for value in VALUES:
        await call.send(json.dumps(value).encode(), "application/json")
    await call.close(Payload(), processing_us=9)


async def long(call: IncomingCall) -> None:
    await call.close(Payload(b"x" * 1_100_000, "text/plain"), processing_us=9)


@dataclass
class Public:
    """A channel to the server, with its methods."""

    channel: Any
    fake: FakeInstance
    core: Core
    instance: Instance
    address: str

    async def request(self, message: api.Message, timeout: float = PATIENCE_S) -> api.Answer:
        method = self.channel.unary_unary(names.REQUEST_METHOD, api.Message.SerializeToString, api.Answer.FromString)
        answer: api.Answer = await method(message, timeout=timeout)
        return answer

    def stream(self, message: api.Message) -> Any:
        method = self.channel.unary_stream(names.STREAM_METHOD, api.Message.SerializeToString, api.Answer.FromString)
        return method(message, timeout=PATIENCE_S)


@pytest.fixture
async def public() -> AsyncIterator[Public]:
    core = Core("default", GatewayMetrics.create(CollectorRegistry()))
    fake = FakeInstance()
    link, _ = local_pair(FakeInstance(), fake)
    instance = Instance(peer=link, namespace="default", node="writers", name="writers-1", zone="a")
    core.add_instance(instance)
    overloaded = fails_with(ErrorValue(pb.OVERLOADED, "the queue is full", retry_after_ms=250))
    fake.handlers = {"echo": echo, "count": count, "long": long, "values": values, "busy": overloaded, "silent": hangs}
    instance.hosted = frozenset(fake.handlers)
    core.set_directory([make_policy(name) for name in fake.handlers])
    server = aio.server(options=SERVER_OPTIONS)
    server.add_generic_rpc_handlers((PublicApi(core, Sessions(core)).handler(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield Public(channel, fake, core, instance, f"127.0.0.1:{port}")
    await server.stop(None)


def message(type_: str, data: bytes = b"hello") -> api.Message:
    return api.Message(open=pb.Open(target=pb.Target(type=type_)), data=data, content_type="text/plain")


@pytest.mark.parametrize("size", [5, 500_000])
async def test_a_request_is_answered_with_who_answered(public: Public, size: int) -> None:
    answer = await public.request(message("echo", b"x" * size))
    assert answer.data == b"x" * size
    assert (answer.agent, answer.instance, answer.content_type) == ("echo", "writers-1", "text/plain")
    assert (answer.processing_us, bool(answer.message_id)) == (1500, True)


async def test_each_request_has_a_message_id_of_its_own(public: Public) -> None:
    ids = [(await public.request(message("echo"))).message_id for _ in range(3)]
    assert len(set(ids)) == 3
    assert [opened.message_id for opened in public.fake.seen] == ids


async def test_a_client_that_names_its_own_principal_is_nobody(public: Public) -> None:
    claimed = message("echo")
    claimed.open.principal, claimed.open.tenant = "spiffe://cluster.local/ns/default/sa/admin", "acme"
    await public.request(claimed)
    assert [piece async for piece in public.stream(claimed)]
    assert [(seen.principal, seen.tenant) for seen in public.fake.seen] == [("", "")] * 2


async def test_a_streamed_answer_comes_in_its_pieces(public: Public) -> None:
    answers = [answer async for answer in public.stream(message("count"))]
    assert [answer.data for answer in answers] == [b"0", b"1", b"2", b"end"]
    assert (answers[-1].agent, answers[-1].processing_us) == ("count", 9)


async def test_a_streamed_answer_is_one_answer_to_a_request(public: Public) -> None:
    text = await public.request(message("count"))
    assert (text.data, text.content_type, text.processing_us) == (b"012end", "text/plain", 9)
    listed = await public.request(message("values"))
    assert (json.loads(listed.data), listed.content_type) == (VALUES, "application/json")


async def test_an_error_has_the_status_of_the_table_and_the_whole_error_beside_it(public: Public) -> None:
    with pytest.raises(aio.AioRpcError) as caught:
        await public.request(message("busy"))
    assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "the queue is full")
    trailing = dict(caught.value.trailing_metadata() or ())
    error = pb.Error.FromString(trailing[ERROR_METADATA])  # type: ignore[arg-type]
    assert (trailing[CODE_METADATA], error.retry_after_ms) == ("OVERLOADED", 250)


async def test_an_answer_that_one_message_cannot_hold_is_refused_and_comes_in_pieces(public: Public) -> None:
    with pytest.raises(aio.AioRpcError, match="call Stream") as caught:
        await public.request(message("long"))
    assert caught.value.code() == grpc.StatusCode.OUT_OF_RANGE
    assert sum([len(answer.data) async for answer in public.stream(message("long"))]) == 1_100_000


async def test_the_clients_deadline_is_the_calls(public: Public) -> None:
    waiting = asyncio.ensure_future(public.request(message("silent"), timeout=20.0))
    async with asyncio.timeout(PATIENCE_S):
        while not public.fake.seen:
            await asyncio.sleep(0.005)
    waiting.cancel()
    assert 0 < public.fake.seen[0].deadline_ms <= 20_000, "less than the Agent's own"
    with pytest.raises(aio.AioRpcError) as caught:
        await public.request(message("silent"), timeout=0.2)
    assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED


async def test_a_client_that_hangs_up_cancels_the_handler(public: Public) -> None:
    waiting = asyncio.ensure_future(public.request(message("silent")))
    async with asyncio.timeout(PATIENCE_S):
        while not public.fake.seen:
            await asyncio.sleep(0.005)
        waiting.cancel()
        while not public.fake.cancelled:
            await asyncio.sleep(0.005)


async def test_bytes_that_are_no_message_are_refused(public: Public) -> None:
    method = public.channel.unary_unary(names.REQUEST_METHOD)
    with pytest.raises(aio.AioRpcError, match="not a switchboard") as caught:
        await method(b"\xff\xff\xff")
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT


async def test_agents_are_listed_by_filter(public: Public) -> None:
    method = public.channel.unary_unary(
        names.LIST_AGENTS_METHOD, api.ListAgentsRequest.SerializeToString, api.ListAgentsResponse.FromString
    )
    everything = await method(api.ListAgentsRequest())
    assert [agent.name for agent in everything.agents] == ["busy", "count", "echo", "long", "silent", "values"]
    assert [agent.instances_ready for agent in (await method(api.ListAgentsRequest(type="echo"))).agents] == [1]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({"state": "Ready", "zone": "a"}, ["busy", "count", "echo", "long", "silent", "values"]),
        ({"state": "Offline"}, []),
        ({"zone": "b"}, []),
        ({"node": "writers", "type": "echo"}, ["echo"]),
    ],
)
async def test_the_sdk_lists_by_state_and_zone(public: Public, wanted: AgentFilter, found: list[str]) -> None:
    async with Client(public.address) as client:
        assert [agent.name for agent in await client.agents(**wanted)] == found


async def test_an_unknown_state_and_an_unknown_type_are_told_as_such(public: Public) -> None:
    async with Client(public.address) as client:
        with pytest.raises(ValidationFailed, match="Ready, Loading"):
            await client.agents(state="ready")
        with pytest.raises(AgentNotFound, match="there is busy"):
            await client.describe("nobody")


async def test_a_description_tells_of_instances_what_routing_knows(public: Public) -> None:
    async with Client(public.address) as client:
        asked = asyncio.ensure_future(client.request("silent", "x"))
        async with asyncio.timeout(PATIENCE_S):
            while not public.fake.seen:
                await asyncio.sleep(0.005)
        described = await client.describe("silent")
        asked.cancel()
    assert (described.type, described.instances_ready) == ("silent", 1)
    [agent] = described.agents
    assert (agent.state, agent.strategy, agent.held_calls) == ("Ready", "LeastConnections", 0)
    [instance] = agent.instances
    assert (instance.name, instance.state, instance.zone, instance.circuit) == ("writers-1", "Ready", "a", "closed")
    assert (instance.in_flight, instance.concurrency, instance.weight > 0) == (1, 16, True)


async def test_a_watch_gives_the_list_and_then_what_it_has_become(public: Public) -> None:
    async with Client(public.address) as client, asyncio.timeout(PATIENCE_S):
        lists = client.watch_agents()
        first = await anext(lists)
        assert [agent.name for agent in first] == ["busy", "count", "echo", "long", "silent", "values"]
        public.instance.draining = True
        public.core.instances_changed()
        drained = await anext(lists)
        assert {agent.state for agent in drained} == {"Draining"}
        public.core.set_directory([make_policy("echo")])
        while [agent.name for agent in await anext(lists)] != ["echo"]:
            pass


async def test_a_watcher_that_does_not_read_gets_the_newest_state_and_nobody_waits_for_it(public: Public) -> None:
    method = public.channel.unary_stream(
        names.WATCH_AGENTS_METHOD, api.ListAgentsRequest.SerializeToString, api.AgentsUpdate.FromString
    )
    slow = method(api.ListAgentsRequest())
    async with asyncio.timeout(PATIENCE_S):
        first = await slow.read()
        assert (first.complete, len(first.changed)) == (True, 6)
        for number in range(200):
            description = f"{number} " + "x" * 20_000
            public.core.set_directory([make_policy("echo", description=description)])
            await asyncio.sleep(0.001)
        assert (await public.request(message("echo"))).data == b"hello"
        while not any(agent.description.startswith("199 ") for agent in (await slow.read()).changed):
            pass
    slow.cancel()


async def test_a_watch_of_a_gateway_that_is_not_there_says_so() -> None:
    async with Client("127.0.0.1:1", connect_timeout_s=5) as nowhere:
        with pytest.raises(NodeUnavailable):
            await anext(nowhere.watch_agents())


def subscribe(public: Public, *names_: str) -> None:
    public.core.set_directory([make_policy(name, topics=(Subscription("news"),)) for name in names_])


async def test_the_sdk_publishes_and_says_what_came_of_each(public: Public) -> None:
    subscribe(public, "echo", "busy")
    async with Client(public.address) as client:
        failed, answered = await client.publish("news", {"n": 1}, source="user-1", headers={"a": "b"})
        assert await client.publish("weather", "x") == []
    assert (answered.agent, answered.value, answered.instance) == (AgentId("echo", "user-1"), {"n": 1}, "writers-1")
    assert answered.ok
    assert (failed.agent, failed.ok, failed.value) == (AgentId("busy", "user-1"), False, None)
    assert isinstance(failed.error, Overloaded)
    assert failed.error.retry_after_s == 0.25
    assert {dict(opened.headers)["a"] for opened in public.fake.seen} == {"b"}


async def test_the_sdk_broadcasts_to_every_instance(public: Public) -> None:
    async with Client(public.address) as client:
        [delivery] = await client.broadcast("echo/k", b"\xff")
        assert (delivery.agent, delivery.value, delivery.instance) == (AgentId("echo", "k"), b"\xff", "writers-1")
        [long_one] = await client.broadcast("long")
        assert (long_one.truncated, long_one.ok, len(long_one.value)) == (True, True, 65536)
        with pytest.raises(AgentNotFound, match="there is busy"):
            await client.broadcast("nobody")
        with pytest.raises(InvalidAgentId):
            await client.publish("")


async def test_the_client_without_asyncio_does_the_same(public: Public) -> None:
    subscribe(public, "echo")

    def ask() -> list[Any]:
        with SyncClient(public.address) as client:
            return [*client.publish("news", "a"), *client.broadcast("echo", "b")]

    assert [delivery.value for delivery in await asyncio.to_thread(ask)] == ["a", "b"]
