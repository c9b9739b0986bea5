"""Sessions on real sockets: they begin on gRPC and go on without it where the client can."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from grpc import aio
from prometheus_client import CollectorRegistry
from rest_server import FakeInstance, echo, hangs, make_policy

from switchboard import Client
from switchboard_gateway.core import Core
from switchboard_gateway.instances import Instance
from switchboard_gateway.metrics import GatewayMetrics
from switchboard_gateway.public import PublicApi
from switchboard_gateway.sessions import MAX_TICKETS, TICKET_S, Sessions, Taken, Tickets
from switchboard_wire.limits import SERVER_OPTIONS
from switchboard_wire.peer import Peer, local_pair
from switchboard_wire.sockets import SocketPeer

PATIENCE_S = 120.0


@dataclass
class Gateway:
    core: Core
    sessions: Sessions
    address: str

    async def until_on(self, kind: type[Peer], count: int = 1) -> None:
        """Wait until exactly `count` sessions are there, all of this kind."""
        async with asyncio.timeout(PATIENCE_S):
            while [type(peer) for peer in self.core.sessions] != [kind] * count:
                await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def running(reached_at: str = "127.0.0.1") -> AsyncIterator[Gateway]:
    core = Core("default", GatewayMetrics.create(CollectorRegistry()))
    fake = FakeInstance()
    fake.handlers = {"echo": echo, "silent": hangs}
    link, _ = local_pair(FakeInstance(), fake)
    core.add_instance(
        Instance(peer=link, namespace="default", node="writers", name="w-1", hosted=frozenset(fake.handlers))
    )
    core.set_directory([make_policy(name) for name in fake.handlers])
    sessions = Sessions(core)
    async with sessions.serve("127.0.0.1", 0, reached_at):
        server = aio.server(options=SERVER_OPTIONS)
        server.add_generic_rpc_handlers((PublicApi(core, sessions).handler(),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        try:
            yield Gateway(core, sessions, f"127.0.0.1:{port}")
        finally:
            await server.stop(None)


async def test_a_session_moves_to_the_socket_and_leaves_grpc() -> None:
    async with running() as gateway, Client(gateway.address) as client:
        assert (await client.request("echo", b"a")).data == b"a"
        await gateway.until_on(SocketPeer)
        assert (await client.request("echo", b"x" * 1_000_000)).data == b"x" * 1_000_000


async def test_a_call_that_was_under_way_ends_where_it_began() -> None:
    async with running() as gateway, Client(gateway.address) as client:
        waiting = asyncio.ensure_future(client.request("silent", b"a"))
        await asyncio.sleep(0)
        assert (await client.request("echo", b"a")).data == b"a"
        async with asyncio.timeout(PATIENCE_S):
            while not any(isinstance(peer, SocketPeer) for peer in gateway.core.sessions):
                await asyncio.sleep(0.01)
        assert not waiting.done()
        assert any(peer.calls for peer in gateway.core.sessions)
        waiting.cancel()
        await gateway.until_on(SocketPeer)


async def test_a_client_that_cannot_reach_the_socket_stays_on_grpc() -> None:
    async with running() as gateway:
        gateway.sessions.address = "127.0.0.1:1"
        async with Client(gateway.address) as client:
            for _ in range(3):
                assert (await client.request("echo", b"a")).data == b"a"
            await gateway.until_on(Peer)


async def test_a_client_whose_ticket_is_not_taken_stays_on_grpc() -> None:
    async with running() as other, running() as gateway:
        gateway.sessions.address = other.sessions.address
        async with Client(gateway.address) as client:
            for _ in range(3):
                assert (await client.request("echo", b"a")).data == b"a"
            await gateway.until_on(Peer)
            assert not other.core.sessions


async def test_a_session_on_the_socket_that_breaks_begins_anew() -> None:
    async with running() as gateway, Client(gateway.address) as client:
        assert (await client.request("echo", b"a")).data == b"a"
        await gateway.until_on(SocketPeer)
        [broken] = gateway.core.sessions
        assert isinstance(broken, SocketPeer)
        broken.end("cut")
        async with asyncio.timeout(PATIENCE_S):
            while broken in gateway.core.sessions:
                await asyncio.sleep(0.01)
        await gateway.until_on(SocketPeer)
        assert (await client.request("echo", b"b")).data == b"b"


@pytest.mark.parametrize(
    "preface", [b"switchboard/1 session/\n", b"switchboard/1 session/00\n", b"switchboard/1 link\n"]
)
async def test_nobody_enters_without_a_ticket(preface: bytes) -> None:
    async with running() as gateway:
        host, _, port = gateway.sessions.address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(preface)
        async with asyncio.timeout(PATIENCE_S):
            with contextlib.suppress(ConnectionResetError):
                assert await reader.read() == b""
        writer.close()


def test_a_ticket_is_good_once_and_for_a_while() -> None:
    now = 0.0
    tickets = Tickets(lambda: now)
    first, second = tickets.give(), tickets.give()
    assert (tickets.take(first), tickets.take(first), tickets.take("")) == (Taken(None), None, None)
    now = TICKET_S + 1
    assert not tickets.take(second)


def test_tickets_that_nobody_takes_are_bounded() -> None:
    tickets = Tickets(lambda: 0.0)
    oldest = tickets.give()
    for _ in range(MAX_TICKETS):
        newest = tickets.give()
    assert (tickets.take(oldest), tickets.take(newest)) == (None, Taken(None))
