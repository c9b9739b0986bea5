"""Calls of clients before the core: who may make them, what waits for the API server's word, what agents are told."""

import asyncio
import json
from collections.abc import Iterable
from dataclasses import dataclass, field

import pytest
from access_fakes import Clock, FakeReviews, jwt_of, make_guard
from gateway_memory import FakeInstance, echo, make_core, policy, turns

from switchboard_gateway.access.entrance import Entrance
from switchboard_gateway.access.rights import HOST, INVOKE, Right
from switchboard_gateway.core import Core
from switchboard_gateway.session_events import Session
from switchboard_routing.policy import AgentPolicy, Capability, Subscription
from switchboard_wire.calls import OutgoingCall, Payload, call_unary, new_open
from switchboard_wire.errors import AgentNotFound, NodeUnavailable, PermissionDenied, Unauthenticated
from switchboard_wire.peer import LocalPeer, Peer, local_pair
from switchboard_wire.v1 import frames_pb2 as pb


def may_invoke(*names: str) -> list[Right]:
    return [Right(INVOKE, "default", name) for name in names]


@dataclass
class Client:
    """A session's client: its end of the stream, and what the gateway tells it beside calls."""

    told: list[pb.Frame] = field(default_factory=list)
    peer: LocalPeer | None = None

    def on_open(self, peer: Peer, frame: pb.Frame) -> None:
        peer.send(pb.Frame(kind=pb.CLOSE, call=frame.call, data=frame.open.principal.encode()))

    def on_control(self, peer: Peer, frame: pb.Frame) -> None:
        seen = pb.Frame()
        seen.CopyFrom(frame)
        self.told.append(seen)

    def on_lost(self, peer: Peer) -> None: ...

    def say(self, frame: pb.Frame) -> None:
        assert self.peer is not None
        self.peer.send(frame)

    def begin(self, data: bytes = b"hello", *, end: bool = True, type_: str = "echo") -> OutgoingCall:
        assert self.peer is not None
        return OutgoingCall(self.peer, new_open(pb.Open(target=pb.Target(type=type_)), Payload(data), end=end))

    async def ask(self, target: pb.Target | str = "echo", **fields: object) -> pb.Frame:
        assert self.peer is not None
        target = pb.Target(type=target) if isinstance(target, str) else target
        opened = pb.Open(target=target, **fields)  # type: ignore[arg-type]
        return await call_unary(self.peer, opened, Payload(b"hello", "text/plain"))

    async def heard(self, kind: int) -> pb.Frame:
        async with asyncio.timeout(60):
            while True:
                for frame in self.told:
                    if frame.kind == kind:
                        return frame
                await asyncio.sleep(0.001)


@dataclass
class Scene:
    core: Core
    reviews: FakeReviews
    clock: Clock
    instance: FakeInstance

    async def client(self, token: str) -> Client:
        guard = make_guard(self.reviews, self.clock)
        session = Session(self.core, "default", Entrance(self.core, guard, await guard.enter(token), token))
        client = Client()
        client.peer, far = local_pair(client, session, "a client")
        session.watch(far)
        return client

    async def client_with(self, rights: Iterable[Right]) -> Client:
        return await self.client(self.reviews.grant("bot", *rights))


async def scene(*policies: AgentPolicy) -> Scene:
    core = make_core()
    core.set_directory(policies or [policy()])
    clock = Clock()
    core.now = clock
    agents = tuple(each.name for each in policies) or ("echo",)
    instance = FakeInstance(core, "writers-1", echo, agents=agents)
    await turns()
    return Scene(core, FakeReviews(), clock, instance)


def named(name: str, **fields: object) -> AgentPolicy:
    return policy(**({"name": name, "type": name} | fields))


async def test_the_agent_is_told_who_calls_and_nothing_that_the_client_says_of_itself() -> None:
    on = await scene()
    client = await on.client_with(may_invoke("echo"))
    for _ in range(2):  # asked for, and remembered
        answer = await client.ask(principal="spiffe://cluster.local/ns/default/sa/admin", tenant="acme")
        assert answer.data == b"hello"
    assert {(frame.open.principal, frame.open.tenant) for frame in on.instance.opened} == {("user:bot", "")}
    assert on.reviews.rights_asked == may_invoke("echo")


async def test_a_client_without_the_right_learns_what_it_lacks_and_the_agent_hears_nothing() -> None:
    on = await scene()
    client = await on.client_with([])
    for _ in range(2):
        with pytest.raises(PermissionDenied, match=r"resourceNames .echo."):
            await client.ask()
    assert on.instance.opened == []


async def test_nobody_learns_which_agents_there_are_without_a_right_to_them() -> None:
    on = await scene()
    client = await on.client_with(may_invoke("gone"))
    with pytest.raises(PermissionDenied):
        await client.ask("secret")
    with pytest.raises(AgentNotFound) as caught:
        await client.ask("gone")
    assert "echo" not in str(caught.value)


async def test_an_api_server_that_is_away_makes_a_call_fail_so_that_it_may_be_tried_again() -> None:
    on = await scene()
    client = await on.client_with(may_invoke("echo"))
    on.reviews.is_away = True
    with pytest.raises(NodeUnavailable) as caught:
        await client.ask()
    assert caught.value.retry_after_s
    on.reviews.is_away = False
    assert (await client.ask()).data == b"hello"


async def test_what_follows_an_open_waits_with_it() -> None:
    on = await scene()
    client = await on.client_with(may_invoke("echo"))
    call = client.begin(b"a", end=False)
    await call.send(b"b")
    await call.send(b"c", end=True)
    await call.result()
    assert b"".join(frame.data for frame in on.instance.later) == b"bc"


async def test_a_call_that_is_cancelled_while_it_waits_reaches_nobody() -> None:
    on = await scene()
    client = await on.client_with(may_invoke("echo"))
    on.reviews.holds.clear()
    call = client.begin()
    await turns()
    call.cancel()
    await turns()
    on.reviews.holds.set()
    await client.ask()
    assert len(on.instance.opened) == 1


async def test_the_time_that_a_call_waits_is_taken_from_its_own() -> None:
    on = await scene()
    client = await on.client_with(may_invoke("echo"))
    on.reviews.holds.clear()
    asking = asyncio.create_task(client.ask(deadline_ms=9000))
    await turns()
    on.clock.now += 2.0
    on.reviews.holds.set()
    await asking
    assert on.instance.opened[-1].open.deadline_ms == 7000


async def test_of_several_versions_a_client_gets_those_that_it_may_call() -> None:
    old, new = named("echo-1", type="echo", version="1.0.0"), named("echo-2", type="echo", version="2.0.0")
    on = await scene(old, new)
    client = await on.client_with(may_invoke("echo-2"))
    for _ in range(20):
        await client.ask("echo")
    assert {frame.open.agent for frame in on.instance.opened} == {"echo-2"}


async def test_of_the_agents_with_a_capability_a_client_gets_those_that_it_may_call() -> None:
    shouts = {"capabilities": (Capability("shout", "1.0.0"),)}
    on = await scene(named("loud", **shouts), named("secret", **shouts))
    target = pb.Target(capability="shout")
    client = await on.client_with(may_invoke("loud"))
    for _ in range(20):
        await client.ask(target)
    assert {frame.open.agent for frame in on.instance.opened} == {"loud"}
    with pytest.raises(AgentNotFound):
        await client.ask(pb.Target(capability="whisper"))
    stranger = await on.client(on.reviews.grant("stranger"))
    with pytest.raises(PermissionDenied):
        await stranger.ask(target)


async def test_a_topic_reaches_those_that_a_client_may_call_and_says_of_the_others_that_it_may_not() -> None:
    subscribed = {"topics": (Subscription("news"),)}
    on = await scene(named("loud", **subscribed), named("secret", **subscribed))
    client = await on.client_with(may_invoke("loud"))
    entries = json.loads((await client.ask(pb.Target(topic="news"))).data)
    assert [(entry["agent"], entry["ok"]) for entry in entries] == [("loud", True), ("secret", False)]
    assert entries[1]["error"]["code"] == "PERMISSION_DENIED"
    assert {frame.open.agent for frame in on.instance.opened} == {"loud"}


async def test_all_instances_are_reached_of_agents_that_a_client_may_call() -> None:
    on = await scene(named("loud"), named("secret"))
    client = await on.client_with(may_invoke("loud"))
    entries = json.loads((await client.ask(pb.Target(type="loud", all_instances=True))).data)
    assert [entry["ok"] for entry in entries] == [True]
    with pytest.raises(PermissionDenied):
        await client.ask(pb.Target(type="secret", all_instances=True))


async def test_a_session_hosts_only_what_its_client_may_host() -> None:
    on = await scene()
    client = await on.client_with([*may_invoke("mine"), Right(HOST, "default", "mine")])
    for type_ in ("theirs", "mine"):
        hosted = pb.Hosted(agents=[pb.HostedAgent(type=type_, state=pb.HOSTED_READY)])
        client.say(pb.Frame(kind=pb.HOSTED, hosted=hosted))
    refused = await client.heard(pb.CLOSE)
    assert (refused.call, refused.error.code) == (0, pb.PERMISSION_DENIED)
    assert "may not host" in refused.error.message
    async with asyncio.timeout(60):
        while ("default", "mine") not in on.core.table.routes:
            await asyncio.sleep(0.01)
    assert ("default", "theirs") not in on.core.table.routes
    assert (await client.ask("mine")).data == b"user:bot"


async def test_a_session_whose_token_is_no_longer_good_makes_no_call() -> None:
    on = await scene()
    client = await on.client_with(may_invoke("echo"))
    await client.ask()
    on.reviews.users.clear()
    on.clock.now = 31.0
    with pytest.raises(Unauthenticated):
        await client.ask()


async def test_a_fresh_token_of_the_same_user_goes_on_and_one_of_another_does_not() -> None:
    on = await scene()
    client = await on.client_with(may_invoke("echo"))
    other = on.reviews.grant("eve", *may_invoke("echo"))
    client.say(pb.Frame(kind=pb.AUTH, auth=pb.Auth(token=other)))
    refused = await client.heard(pb.CLOSE)
    assert "another user" in refused.error.message
    fresh = jwt_of("bot", 1_900_000_000.0)
    on.reviews.users = {fresh: "bot"}
    client.say(pb.Frame(kind=pb.AUTH, auth=pb.Auth(token=fresh)))
    await turns(50)
    on.clock.now = 31.0
    assert (await client.ask()).data == b"hello"
    assert on.instance.opened[-1].open.principal == "user:bot"


async def test_a_session_whose_token_expires_is_asked_to_begin_anew() -> None:
    on = await scene()
    token = jwt_of("bot", on.clock.wall() + 0.01)
    on.reviews.users[token] = "bot"
    client = await on.client(token)
    assert "expired" in (await client.heard(pb.GOAWAY)).goaway.reason


async def test_an_agent_that_comes_later_gets_no_call_of_a_client_that_may_not_call_it() -> None:
    old, new = named("echo-1", type="echo", version="1.0.0"), named("echo-2", type="echo", version="2.0.0")
    on = await scene(old, new)
    on.core.set_directory([old])
    client = await on.client_with(may_invoke("echo-1"))
    await client.ask("echo")
    on.core.set_directory([old, new])
    for _ in range(20):
        await client.ask("echo")
    assert {frame.open.agent for frame in on.instance.opened} == {"echo-1"}


async def test_a_right_is_asked_for_anew_when_its_answer_is_old() -> None:
    on = await scene()
    client = await on.client_with(may_invoke("echo"))
    await client.ask()
    on.clock.now = 20.0
    await client.ask()
    assert len(on.reviews.rights_asked) == 1
    on.reviews.rights["bot"].clear()
    on.clock.now = 31.0
    with pytest.raises(PermissionDenied):
        await client.ask()
