"""Agents that sessions host, and replicas among themselves: what is known where, and where a call may go."""

import asyncio
from collections.abc import Callable

import pytest
from prometheus_client import CollectorRegistry

from switchboard_gateway import attached
from switchboard_gateway.attached import MAX_SESSION_AGENTS, check_hosted
from switchboard_gateway.core import Core
from switchboard_gateway.links import Link
from switchboard_gateway.metrics import GatewayMetrics
from switchboard_gateway.peers import PeerLink, Peers, Self, is_address, to_dial
from switchboard_gateway.session_events import Session
from switchboard_routing.policy import AgentPolicy
from switchboard_wire.calls import Payload, call_unary
from switchboard_wire.errors import SwitchboardError
from switchboard_wire.peer import LocalPeer, Peer, ProtocolError, local_pair
from switchboard_wire.v1 import frames_pb2 as pb


def hosted(*types: str, state: "pb.HostedState.ValueType" = pb.HOSTED_READY) -> pb.Hosted:
    return pb.Hosted(agents=[pb.HostedAgent(type=type_, state=state) for type_ in types])


class FakeHost:
    """A client whose session hosts agents; it answers with its name."""

    def __init__(self, core: Core, name: str, *types: str) -> None:
        self.name = name
        self.opened: list[pb.Frame] = []
        self.refusals: list[pb.Error] = []
        self.answers = True
        self.peer, self.far = local_pair(self, Session(core, core.namespace), name)
        if types:
            self.say(pb.Hello(instance=name, hosted=hosted(*types)))

    def say(self, hello: pb.Hello) -> None:
        self.peer.send(pb.Frame(kind=pb.HELLO, hello=hello))

    def on_open(self, peer: Peer, frame: pb.Frame) -> None:
        self.opened.append(frame)
        peer.accept(frame.call, lambda later: None)
        if self.answers:
            peer.send(pb.Frame(kind=pb.CLOSE, call=frame.call, data=self.name.encode()))

    def on_control(self, peer: Peer, frame: pb.Frame) -> None:
        if frame.kind == pb.CLOSE:
            self.refusals.append(frame.error)

    def on_lost(self, peer: Peer) -> None:
        pass

    def die(self) -> None:
        self.peer.lost = True
        self.far.lose("gone")


class Replica:
    """One gateway of several, without sockets."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.core = Core("default", GatewayMetrics.create(CollectorRegistry()))
        self.peers = Peers(self.core, Self(name))

    def link_with(self, other: "Replica") -> LocalPeer:
        dialling = PeerLink(self.peers, f"10.0.0.1:{len(other.name)}")
        near, far = local_pair(dialling, Link(other.core, peers=other.peers), other.name)
        far.send(pb.Frame(kind=pb.HELLO, hello=other.peers.hello()))
        near.send(pb.Frame(kind=pb.HELLO, hello=self.peers.hello()))
        return near

    def known(self) -> dict[str, int]:
        """Type → instances that can answer."""
        return {route.policy.type: len(route.instances) for route in self.core.table.routes.values()}

    async def ask(self, type_: str, **fields: object) -> pb.Frame:
        opened = pb.Open(target=pb.Target(type=type_), deadline_ms=500, **fields)  # type: ignore[arg-type]
        return await call_unary(self.core.attach_local("test"), opened, Payload(b"hello"))

    async def error_of(self, type_: str) -> pb.Error:
        with pytest.raises(SwitchboardError) as caught:
            await self.ask(type_)
        return caught.value.error.to_wire()


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.002)


@pytest.fixture
async def replicas() -> tuple[Replica, Replica, Replica]:
    """Three, each linked with each."""
    a, b, c = Replica("a"), Replica("bb"), Replica("ccc")
    a.link_with(b)
    a.link_with(c)
    b.link_with(c)
    await until(lambda: all(len(r.core.table.instances) == 2 for r in (a, b, c)))
    return a, b, c


async def test_an_agent_of_a_session_answers_and_says_who_it_is() -> None:
    replica = Replica("a")
    FakeHost(replica.core, "laptop", "echo")
    await until(lambda: replica.known() == {"echo": 1})
    close = await replica.ask("echo")
    assert (close.data, close.instance) == (b"laptop", "session/laptop")


async def test_every_replica_reaches_the_agent_of_a_session_on_one(
    replicas: tuple[Replica, Replica, Replica],
) -> None:
    FakeHost(replicas[1].core, "laptop", "echo")
    await until(lambda: all(replica.known() == {"echo": 1} for replica in replicas))
    for replica in replicas:
        close = await replica.ask("echo")
        assert (close.data, close.instance) == (b"laptop", "session/laptop")


async def test_no_call_passes_from_peer_to_peer(replicas: tuple[Replica, Replica, Replica]) -> None:
    a, b, _ = replicas
    host = FakeHost(b.core, "laptop", "echo")
    await until(lambda: all(replica.known() == {"echo": 1} for replica in replicas))
    relayed = pb.Open(agent="echo", target=pb.Target(type="echo"), deadline_ms=500)
    link = next(i.peer for i in a.core.table.instances.values() if i.name == "gateway/ccc")
    with pytest.raises(SwitchboardError) as caught:
        await call_unary(link, relayed, Payload(b""))
    assert (caught.value.code, caught.value.error.delivered) == ("NODE_UNAVAILABLE", pb.DELIVERED_NO)
    assert host.opened == []


async def test_two_sessions_of_one_type_on_two_replicas_share_its_calls(
    replicas: tuple[Replica, Replica, Replica],
) -> None:
    a, b, c = replicas
    FakeHost(a.core, "one", "echo")
    FakeHost(b.core, "two", "echo")
    await until(lambda: c.known() == {"echo": 2})
    assert {(await c.ask("echo")).data for _ in range(40)} == {b"one", b"two"}


async def test_a_lost_session_ends_its_calls_as_maybe_delivered_on_every_replica(
    replicas: tuple[Replica, Replica, Replica],
) -> None:
    a, b, _ = replicas
    host = FakeHost(b.core, "laptop", "echo")
    host.answers = False
    await until(lambda: a.known() == {"echo": 1})
    asking = asyncio.ensure_future(a.error_of("echo"))
    await until(lambda: host.opened)
    host.die()
    error = await asking
    assert (error.code, error.delivered) == (pb.NODE_UNAVAILABLE, pb.DELIVERED_MAYBE)


async def test_a_lost_peer_ends_its_calls_as_maybe_delivered(replicas: tuple[Replica, Replica, Replica]) -> None:
    a, b, _ = replicas
    host = FakeHost(b.core, "laptop", "echo")
    host.answers = False
    await until(lambda: a.known() == {"echo": 1})
    asking = asyncio.ensure_future(a.error_of("echo"))
    await until(lambda: host.opened)
    next(i.peer for i in list(a.core.table.instances.values()) if i.name == "gateway/bb").lose("cut")
    error = await asking
    assert (error.code, error.delivered) == (pb.NODE_UNAVAILABLE, pb.DELIVERED_MAYBE)


async def test_a_host_that_comes_back_elsewhere_gets_the_calls_that_waited(
    replicas: tuple[Replica, Replica, Replica],
) -> None:
    a, b, c = replicas
    host = FakeHost(b.core, "laptop", "echo")
    await until(lambda: a.known() == {"echo": 1})
    host.die()
    await until(lambda: a.known() == {"echo": 0})
    asking = asyncio.ensure_future(a.ask("echo"))
    FakeHost(c.core, "laptop again", "echo")
    assert (await asking).data == b"laptop again"


async def test_an_agent_whose_host_stays_away_is_forgotten(
    replicas: tuple[Replica, Replica, Replica], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attached, "ABSENCE_S", 0.05)
    host = FakeHost(replicas[1].core, "laptop", "echo")
    await until(lambda: replicas[0].known() == {"echo": 1})
    host.die()
    await until(lambda: all(replica.known() == {} for replica in replicas))
    for replica in replicas:
        assert (await replica.error_of("echo")).code == pb.AGENT_NOT_FOUND


async def test_an_agent_that_is_declared_cannot_be_a_sessions_and_becomes_it_when_it_is_deleted() -> None:
    replica = Replica("a")
    declared = AgentPolicy(namespace="default", name="echo", type="echo", nodes=frozenset({"pool"}))
    replica.core.set_directory([declared])
    host = FakeHost(replica.core, "laptop", "echo", "other")
    await until(lambda: host.refusals)
    assert [(error.code, dict(error.details)) for error in host.refusals] == [(pb.AGENT_ID_CONFLICT, {"agent": "echo"})]
    await until(lambda: replica.known() == {"echo": 0, "other": 1})
    replica.core.set_directory([])
    assert replica.known() == {"echo": 1, "other": 1}


async def test_a_session_does_not_call_under_the_name_of_a_declared_agent_that_it_says_it_hosts() -> None:
    replica = Replica("a")
    replica.core.set_directory([AgentPolicy(namespace="default", name="echo", type="echo", nodes=frozenset({"pool"}))])
    host = FakeHost(replica.core, "laptop", "echo", "other")
    await until(lambda: replica.known() == {"echo": 0, "other": 1})
    for claimed, seen in (("echo", ""), ("other", "other")):
        opened = pb.Open(target=pb.Target(type="other"), source=pb.AgentId(type=claimed, key="boss"))
        await call_unary(host.peer, opened, Payload(b"hi"))
        assert host.opened[-1].open.source.type == seen


async def test_a_session_is_told_when_its_agent_is_declared_later() -> None:
    replica = Replica("a")
    host = FakeHost(replica.core, "laptop", "echo")
    await until(lambda: replica.known() == {"echo": 1})
    replica.core.set_directory([AgentPolicy(namespace="default", name="main", type="echo", nodes=frozenset({"pool"}))])
    await until(lambda: host.refusals)
    assert (host.refusals[0].code, replica.known()) == (pb.AGENT_ID_CONFLICT, {"echo": 0})


async def test_a_sidecar_cannot_claim_an_agent_of_a_session() -> None:
    replica = Replica("a")
    FakeHost(replica.core, "laptop", "echo")
    await until(lambda: replica.known() == {"echo": 1})
    sidecar, _ = local_pair(_Thief(), Link(replica.core, peers=replica.peers), "thief")
    named = pb.Hosted(agents=[pb.HostedAgent(name="echo", type="echo", state=pb.HOSTED_READY)])
    for node in ("", "pool"):
        sidecar.send(pb.Frame(kind=pb.HELLO, hello=pb.Hello(namespace="default", node=node, hosted=named)))
    await until(lambda: len(replica.core.table.instances) == 2)
    assert {(await replica.ask("echo")).data for _ in range(10)} == {b"laptop"}


class _Thief:
    def on_open(self, peer: Peer, frame: pb.Frame) -> None:
        peer.send(pb.Frame(kind=pb.CLOSE, call=frame.call, data=b"stolen"))

    def on_control(self, peer: Peer, frame: pb.Frame) -> None:
        pass

    def on_lost(self, peer: Peer) -> None:
        pass


async def test_a_sidecar_with_more_agents_than_any_has_is_refused() -> None:
    replica = Replica("a")
    sidecar, _ = local_pair(_Thief(), Link(replica.core, peers=replica.peers), "liar")
    many = pb.Hosted(agents=[pb.HostedAgent(name=f"a{n}", type=f"a{n}") for n in range(1001)])
    sidecar.send(pb.Frame(kind=pb.HELLO, hello=pb.Hello(namespace="default", node="pool")))
    await until(lambda: replica.core.table.instances)
    sidecar.send(pb.Frame(kind=pb.HOSTED, hosted=many))
    await until(lambda: not replica.core.table.instances)


async def test_a_session_that_hosts_calls_as_its_own_agent_and_no_other() -> None:
    replica = Replica("a")
    host = FakeHost(replica.core, "laptop", "echo")
    await until(lambda: replica.known() == {"echo": 1})
    for claimed, believed in [("echo", "echo"), ("admin", "")]:
        opened = pb.Open(target=pb.Target(type="echo"), source=pb.AgentId(namespace="other", type=claimed))
        await call_unary(host.peer, opened, Payload(b""))
        seen = host.opened[-1].open.source
        assert (seen.type, seen.namespace) == (believed, "default" if believed else "")


async def test_a_host_that_says_goodbye_gets_no_more_calls(replicas: tuple[Replica, Replica, Replica]) -> None:
    a, b, _ = replicas
    FakeHost(a.core, "stays", "echo")
    going = FakeHost(b.core, "goes", "echo")
    await until(lambda: a.known() == {"echo": 2})
    going.peer.send(pb.Frame(kind=pb.GOAWAY))
    await until(lambda: a.known() == {"echo": 1} and b.known() == {"echo": 1})
    assert {(await b.ask("echo")).data for _ in range(10)} == {b"stays"}


@pytest.mark.parametrize(
    ("hello", "code"),
    [
        pytest.param(pb.Hello(hosted=hosted("No Such")), pb.INVALID_AGENT_ID, id="a type that is none"),
        pytest.param(pb.Hello(hosted=hosted("tasks")), pb.INVALID_AGENT_ID, id="a reserved type"),
        pytest.param(pb.Hello(hosted=hosted("echo/key")), pb.INVALID_AGENT_ID, id="a type with a key"),
        pytest.param(pb.Hello(hosted=hosted("echo", "echo")), pb.VALIDATION_FAILED, id="one agent twice"),
        pytest.param(
            pb.Hello(hosted=hosted(*(f"a{n}" for n in range(MAX_SESSION_AGENTS + 1)))),
            pb.VALIDATION_FAILED,
            id="too many agents",
        ),
        pytest.param(
            pb.Hello(hosted=pb.Hosted(agents=[pb.HostedAgent(name="x", type="echo")])),
            pb.VALIDATION_FAILED,
            id="a name that is not the type",
        ),
        pytest.param(
            pb.Hello(hosted=pb.Hosted(agents=[pb.HostedAgent(type="echo", description="x" * 2000)])),
            pb.VALIDATION_FAILED,
            id="a description without end",
        ),
        pytest.param(
            pb.Hello(hosted=pb.Hosted(agents=[pb.HostedAgent(type="echo", capabilities=[pb.Capability()] * 65)])),
            pb.VALIDATION_FAILED,
            id="capabilities without end",
        ),
        pytest.param(
            pb.Hello(hosted=pb.Hosted(agents=[pb.HostedAgent(type="echo", topics=[pb.Subscription(topic="t")] * 65)])),
            pb.VALIDATION_FAILED,
            id="topics without end",
        ),
        pytest.param(
            pb.Hello(hosted=pb.Hosted(agents=[pb.HostedAgent(type="echo", topics=[pb.Subscription(prefix=True)])])),
            pb.VALIDATION_FAILED,
            id="a subscription to everything",
        ),
        pytest.param(
            pb.Hello(namespace="kube-system", hosted=hosted("echo")), pb.PERMISSION_DENIED, id="a foreign namespace"
        ),
        pytest.param(pb.Hello(instance="a\nb", hosted=hosted("echo")), pb.VALIDATION_FAILED, id="an unprintable name"),
    ],
)
async def test_a_list_at_fault_is_refused_whole(hello: pb.Hello, code: int) -> None:
    replica = Replica("a")
    host = FakeHost(replica.core, "laptop")
    host.say(hello)
    await until(lambda: host.refusals)
    assert [error.code for error in host.refusals] == [code]
    assert replica.core.table.instances == {}


async def test_a_gateway_may_take_no_agents_from_sessions() -> None:
    core = Core("default", GatewayMetrics.create(CollectorRegistry()), hosts_sessions=False)
    host = FakeHost(core, "laptop", "echo")
    await until(lambda: host.refusals)
    assert host.refusals[0].code == pb.PERMISSION_DENIED


# Which links there are


def test_of_two_replicas_the_smaller_address_dials() -> None:
    found = ["10.0.0.1:7410", "10.0.0.2:7410", "10.0.0.3:7410"]
    assert [sorted(to_dial(own, found)) for own in found] == [found[1:], found[2:], []]
    assert to_dial("", found) == frozenset(found)


def test_an_address_is_the_same_however_it_is_spelt() -> None:
    assert to_dial("[fd00:0:0::1]:7410", ["[fd00::1]:7410"]) == frozenset()


@pytest.mark.parametrize("text", ["", "host:7410", "10.0.0.1", "10.0.0.1:0", "10.0.0.1:99999", "unix:/x", "10.0.0.1:٣"])
def test_what_is_no_address_is_not_dialled(text: str) -> None:
    assert not is_address(text)


async def test_a_replica_that_meets_itself_refuses() -> None:
    replica = Replica("a")
    link = PeerLink(replica.peers, "10.0.0.1:7410")
    near, _ = local_pair(link, Link(replica.core, peers=replica.peers))
    link.on_control(near, pb.Frame(kind=pb.HELLO, hello=replica.peers.hello()))
    assert (near.lost, link.is_refused, replica.core.table.instances) == (True, True, {})


@pytest.mark.parametrize("ours_first", [True, False])
@pytest.mark.parametrize("other", ["a", "c"])
async def test_of_two_links_both_ends_keep_the_one_that_the_smaller_name_dialled(other: str, ours_first: bool) -> None:
    replica = Replica("b")
    links = {True: PeerLink(replica.peers, "10.0.0.1:7410"), False: PeerLink(replica.peers)}
    for is_ours in (ours_first, not ours_first):
        peer, _ = local_pair(links[is_ours], links[is_ours])
        links[is_ours].on_control(peer, pb.Frame(kind=pb.HELLO, hello=pb.Hello(gateway=other)))
    stays = other > "b"
    assert (links[stays].instance is not None, links[not stays].instance is None) == (True, True)
    assert len(replica.core.table.instances) == 1


async def test_a_second_link_that_the_same_replica_dialled_is_refused() -> None:
    replica = Replica("b")
    for is_refused in (False, True):
        link = PeerLink(replica.peers)
        peer, _ = local_pair(link, link)
        link.on_control(peer, pb.Frame(kind=pb.HELLO, hello=pb.Hello(gateway="a")))
        assert link.is_refused == is_refused


async def test_a_gateway_that_lies_about_its_agents_is_cut_off() -> None:
    replica = Replica("b")
    link = PeerLink(replica.peers)
    peer, _ = local_pair(link, link)
    link.on_control(peer, pb.Frame(kind=pb.HELLO, hello=pb.Hello(gateway="a")))
    with pytest.raises(ProtocolError, match="'No Such' is no agent type"):
        link.on_control(peer, pb.Frame(kind=pb.HOSTED, hosted=hosted("No Such")))


def test_what_a_peer_may_list_is_bounded() -> None:
    with pytest.raises(SwitchboardError, match="over 3 agents"):
        check_hosted(hosted("a", "b", "c", "d").agents, 3)
