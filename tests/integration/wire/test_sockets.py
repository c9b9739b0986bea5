"""Peers on real sockets, unix and TCP."""

import asyncio
import contextlib
import ssl
from pathlib import Path

import pytest
from certificates import Certificate, make_certificate

from switchboard_wire import mixed_port, sockets
from switchboard_wire.calls import IncomingCall, Payload, call_unary
from switchboard_wire.errors import SwitchboardError
from switchboard_wire.listening import serve_socket, serve_tcp
from switchboard_wire.mixed_port import serve_mixed
from switchboard_wire.peer import Peer
from switchboard_wire.sockets import DialTls, SocketPeer, dial_socket, dial_tcp, run_socket
from switchboard_wire.v1 import frames_pb2 as pb


@pytest.fixture
def certificate(tmp_path: Path) -> Certificate:
    return make_certificate(tmp_path)


class Echo:
    def __init__(self, answers: bool = True) -> None:
        self._answers = answers
        self.tasks: set[asyncio.Task[None]] = set()
        self.peers: asyncio.Queue[SocketPeer] = asyncio.Queue()

    def on_open(self, peer: Peer, frame: pb.Frame) -> None:
        assert isinstance(peer, SocketPeer)
        self.peers.put_nowait(peer)
        if self._answers:
            self.tasks.add(asyncio.ensure_future(self._answer(IncomingCall(peer, frame))))

    async def _answer(self, call: IncomingCall) -> None:
        await call.close(Payload(await call.body(1 << 24)))

    def on_control(self, peer: Peer, frame: pb.Frame) -> None: ...

    def on_lost(self, peer: Peer) -> None: ...


def accept_echo(service: str, _: SocketPeer) -> Echo | None:
    return Echo() if service == "echo" else None


async def test_calls_of_any_size_cross_a_socket(tmp_path: Path) -> None:
    path = tmp_path / "s.sock"
    async with serve_socket(path, accept_echo, 0o666):
        assert path.stat().st_mode & 0o777 == 0o666
        peer = await dial_socket(path, "echo", Echo())
        running = asyncio.ensure_future(run_socket(peer))
        sizes = [0, 1, 300_000, 5_000_000, 256]
        closes = await asyncio.gather(*(call_unary(peer, pb.Open(), Payload(b"x" * size)) for size in sizes))
        assert [len(close.data) for close in closes] == sizes
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_a_call_ends_when_the_other_end_goes(tmp_path: Path) -> None:
    path = tmp_path / "s.sock"
    silent = Echo(answers=False)
    async with serve_socket(path, lambda *_: silent, 0o600):
        peer = await dial_socket(path, "echo", Echo(), label="sidecar")
        running = asyncio.ensure_future(run_socket(peer))
        waiting = asyncio.ensure_future(call_unary(peer, pb.Open(), Payload(b"x")))
        far = await silent.peers.get()
        far.end("restarted")
        with pytest.raises(SwitchboardError, match="sidecar: closed by the other end") as caught:
            await waiting
        assert caught.value.error.delivered == pb.DELIVERED_MAYBE
        assert await running == "closed by the other end"


async def test_who_holds_a_stream_can_be_cancelled_in_the_moment_in_which_it_ends(tmp_path: Path) -> None:
    path = tmp_path / "s.sock"
    async with serve_socket(path, accept_echo, 0o600):
        peer = await dial_socket(path, "echo", Echo())
        holder = asyncio.ensure_future(run_socket(peer))
        await asyncio.sleep(0)
        peer.end("gone")
        holder.cancel()
        with pytest.raises(asyncio.CancelledError):
            await holder


@pytest.mark.parametrize(
    "first", [b"GET / HTTP/1.1\r\n\r\n", b"switchboard/1 nothing\n", b"switchboard/1 " + b"x" * 99]
)
async def test_a_stranger_is_turned_away(tmp_path: Path, first: bytes) -> None:
    path = tmp_path / "s.sock"
    async with serve_socket(path, accept_echo, 0o600):
        reader, writer = await asyncio.open_unix_connection(str(path))
        writer.write(first)
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)
        writer.close()


async def test_calls_cross_tcp_under_tls_when_the_certificate_has_the_name(certificate: Certificate) -> None:
    async with serve_tcp("127.0.0.1", 0, accept_echo, certificate.server) as port:
        peer = SocketPeer(Echo(), dialled=True)
        await dial_tcp(f"127.0.0.1:{port}", "echo", peer, DialTls(certificate.client, certificate.name))
        running = asyncio.ensure_future(run_socket(peer))
        close = await call_unary(peer, pb.Open(), Payload(b"x" * 300_000))
        assert len(close.data) == 300_000
        assert peer.remote == "127.0.0.1"
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_a_certificate_for_another_name_is_refused(certificate: Certificate) -> None:
    async with serve_tcp("127.0.0.1", 0, accept_echo, certificate.server) as port:
        peer = SocketPeer(Echo(), dialled=True)
        with pytest.raises(OSError, match=r"(?i)certificate"):
            await dial_tcp(f"127.0.0.1:{port}", "echo", peer, DialTls(certificate.client, "another.name"))


async def test_a_plain_dialler_gets_nothing_from_a_tls_port(certificate: Certificate) -> None:
    async with serve_tcp("127.0.0.1", 0, accept_echo, certificate.server) as port:
        peer = SocketPeer(Echo(), dialled=True)
        await dial_tcp(f"127.0.0.1:{port}", "echo", peer)
        with pytest.raises(SwitchboardError):
            await call_unary(peer, pb.Open(), Payload(b"x"))


async def call_at(address: str, tls: DialTls | None) -> bytes:
    """What the port's echo answers to one call."""
    peer = SocketPeer(Echo(), dialled=True)
    await dial_tcp(address, "echo", peer, tls)
    running = asyncio.ensure_future(run_socket(peer))
    try:
        return (await call_unary(peer, pb.Open(), Payload(b"x" * 300_000))).data
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_a_mixed_port_serves_tls_and_plain_text(certificate: Certificate) -> None:
    tls = DialTls(certificate.client, certificate.name)
    async with serve_mixed("127.0.0.1", 0, accept_echo, certificate.server) as port:
        address = f"127.0.0.1:{port}"
        answers = await asyncio.gather(*(call_at(address, kind) for kind in (tls, None, tls, None)))
    assert [len(answer) for answer in answers] == [300_000] * 4


async def test_a_mixed_port_checks_names_as_any_other(certificate: Certificate) -> None:
    async with serve_mixed("127.0.0.1", 0, accept_echo, certificate.server) as port:
        with pytest.raises(ssl.SSLCertVerificationError):
            await call_at(f"127.0.0.1:{port}", DialTls(certificate.client, "another.test"))


@pytest.mark.parametrize("said", [b"", b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01nonsense", b"switchboard/1 "])
async def test_a_stranger_at_a_mixed_port_is_let_go(
    said: bytes, certificate: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sockets, "PREFACE_WAIT_S", 0.2)
    monkeypatch.setattr(mixed_port, "PREFACE_WAIT_S", 0.2)
    async with serve_mixed("127.0.0.1", 0, accept_echo, certificate.server) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(said)
        async with asyncio.timeout(60):
            with contextlib.suppress(ConnectionError):
                assert b"switchboard" not in await reader.read()
        writer.close()


@pytest.mark.parametrize("said", [b"", b"switchboard/1 ec"])
async def test_a_stranger_that_stays_silent_is_let_go(said: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "PREFACE_WAIT_S", 0.05)
    async with serve_tcp("127.0.0.1", 0, accept_echo) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(said)
        async with asyncio.timeout(60):
            with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
                await reader.readexactly(1)
        writer.close()


async def test_a_reader_that_stops_reading_costs_bounded_memory_and_is_served_again_later(tmp_path: Path) -> None:
    path = tmp_path / "s.sock"
    far_end = Echo(answers=False)
    async with serve_socket(path, lambda *_: far_end, 0o600):
        peer = await dial_socket(path, "echo", Echo())
        peer.bound = 1024 * 1024
        ends: list[pb.Frame] = []
        peer.open(pb.Frame(kind=pb.OPEN), ends.append)
        far = await far_end.peers.get()
        assert far.transport is not None
        far.transport.pause_reading()
        async with asyncio.timeout(60):
            while not ends:
                peer.open(pb.Frame(kind=pb.OPEN, data=bytes(100_000)), ends.append)
                await asyncio.sleep(0)
        assert {(end.error.code, end.error.delivered) for end in ends} == {(pb.OVERLOADED, pb.DELIVERED_NO)}
        assert sum(frame.ByteSize() for frame in peer.outbox._frames) < 1024 * 1024 + 200_000
        far.transport.resume_reading()
        async with asyncio.timeout(60):
            while peer.outbox:
                await asyncio.sleep(0.001)
        refused = len(ends)
        peer.open(pb.Frame(kind=pb.OPEN, data=b"last"), ends.append)
        async with asyncio.timeout(60):
            while len(peer.outbox) or peer.shed > refused:
                await asyncio.sleep(0.001)
        assert (len(ends), peer.shed) == (refused, refused)
        peer.end("done")
