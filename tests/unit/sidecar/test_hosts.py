"""A host's session on the pod's socket."""

import asyncio

import pytest
from sidecar_ends import assignment

from switchboard_sidecar.delivery import Deliverer
from switchboard_sidecar.hosts import HostServer, check_protocol
from switchboard_sidecar.outbound import Outbound
from switchboard_sidecar.roster import Roster
from switchboard_wire.names import ATTACH_SERVICE, DRAIN_SERVICE
from switchboard_wire.peer import ProtocolError
from switchboard_wire.sockets import SocketPeer
from switchboard_wire.v1 import frames_pb2 as pb

HELLO = pb.Frame(kind=pb.HELLO, hello=pb.Hello(protocol_min=1, protocol_max=1))


def make(loads: list[pb.Load]) -> tuple[HostServer, Roster]:
    async def drain(reason: str) -> int:
        return len(reason)

    roster = Roster()
    outbound = Outbound(Deliverer(roster, lambda: 0.0), "ns", lambda: None)
    return HostServer(roster, outbound, drain, loads.append), roster


def accept(server: HostServer, service: str = ATTACH_SERVICE) -> SocketPeer:
    peer = SocketPeer(None, dialled=False)  # type: ignore[arg-type]
    events = server._accept(service, peer)
    assert events is not None
    peer.events = events
    return peer


def kinds(peer: SocketPeer) -> list[str]:
    return [pb.Kind.Name(frame.kind) for frame in peer.outbox.drain()]


async def test_a_hello_is_answered_with_what_to_run() -> None:
    server, roster = make([])
    roster.apply(pb.Assignments(generation=1, agents=[assignment("a")]))
    peer = accept(server)
    peer.dispatch(HELLO)
    assert kinds(peer) == ["HELLO", "ASSIGN"]
    assert roster.host is peer


async def test_assignments_that_come_in_the_turn_of_the_hello_reach_the_host() -> None:
    server, roster = make([])
    peer = accept(server)
    peer.dispatch(HELLO)
    roster.apply(pb.Assignments(generation=1, agents=[assignment("a")]))
    server.assign()
    assert kinds(peer) == ["HELLO", "ASSIGN"]


async def test_nothing_is_assigned_before_the_hello() -> None:
    server, roster = make([])
    peer = accept(server)
    roster.apply(pb.Assignments(generation=1))
    server.assign()
    assert kinds(peer) == []
    assert roster.host is None


async def test_a_host_that_goes_takes_no_more_calls_and_a_lost_one_is_gone() -> None:
    server, roster = make([])
    roster.apply(pb.Assignments(generation=1, agents=[assignment("a")]))
    for end in (lambda peer: peer.dispatch(pb.Frame(kind=pb.GOAWAY)), lambda peer: peer.lose("crash")):
        peer = accept(server)
        peer.dispatch(HELLO)
        ready = pb.HostedAgent(name="a", type="a", state=pb.HOSTED_READY)
        peer.dispatch(pb.Frame(kind=pb.HOSTED, hosted=pb.Hosted(generation=1, agents=[ready])))
        assert roster.can_serve
        end(peer)
        assert not roster.can_serve


async def test_the_hosts_load_is_heard() -> None:
    loads: list[pb.Load] = []
    server, _ = make(loads)
    peer = accept(server)
    peer.dispatch(pb.Frame(kind=pb.PING, ping=pb.Ping(number=1)))
    peer.dispatch(pb.Frame(kind=pb.PING, ping=pb.Ping(number=2, load=pb.Load(cpu=0.5))))
    assert [load.cpu for load in loads] == [0.5]


async def test_the_prestop_is_answered_with_what_was_left() -> None:
    server, _ = make([])
    peer = accept(server, DRAIN_SERVICE)
    peer.dispatch(pb.Frame(kind=pb.OPEN, call=1, end=True, open=pb.Open(method="12345")))
    for _ in range(5):
        await asyncio.sleep(0)
    assert [(frame.call, frame.data) for frame in peer.outbox.drain() if frame.kind == pb.CLOSE] == [(1, b"5")]


async def test_a_stranger_is_not_served() -> None:
    server, _ = make([])
    assert server._accept("nonsense", SocketPeer(None, dialled=False)) is None  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("low", "high", "expected"), [(1, 1, True), (0, 0, True), (1, 9, True), (2, 3, False)], ids=str
)
def test_a_common_protocol_is_needed(low: int, high: int, expected: bool) -> None:
    hello = pb.Hello(protocol_min=low, protocol_max=high)
    if expected:
        check_protocol(hello)
    else:
        with pytest.raises(ProtocolError, match="protocol 2 to 3"):
            check_protocol(hello)
