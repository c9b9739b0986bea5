"""Streams of batches on a plain socket, for ends that share a machine: each batch after its length in four bytes.

The host connection crosses no network and needs no HTTP/2, and a gRPC message costs its ends several turns of the loop:
docs/adr/0006 has what the change brought. One writer serves all calls of a turn of the loop.

The dialling end begins with one line, `switchboard/1 SERVICE`, so that a stranger is told apart at once.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, cast

from switchboard_wire.limits import MAX_MESSAGE_BYTES
from switchboard_wire.peer import Peer, PeerEvents, ProtocolError
from switchboard_wire.streams import LoadReport, SilentError, keep_alive
from switchboard_wire.v1 import frames_pb2 as pb

PREFACE: Final = b"switchboard/1 "
MAX_PREFACE_BYTES: Final = 64
_LENGTH: Final = 4

# (service, the new peer) → its events; None: no such service here. The peer's owner keeps it alive by `run_socket`.
Accept = Callable[[str, "SocketPeer"], PeerEvents | None]


class SocketPeer(Peer):
    """A peer on a socket: what is sent in one turn of the loop goes out in one write at its end."""

    __slots__ = ("_loop", "_scheduled", "_writable", "closed", "transport")

    def __init__(self, events: PeerEvents, *, dialled: bool, label: str = "") -> None:
        super().__init__(events, dialled=dialled, label=label)
        self._loop = asyncio.get_running_loop()
        self._scheduled = False
        self._writable = False
        self.transport: asyncio.Transport | None = None
        self.closed: asyncio.Future[str] = self._loop.create_future()

    def send(self, frame: pb.Frame) -> None:
        if self.lost:
            return
        self.outbox.append(frame)
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._flush)

    def attach(self, transport: asyncio.Transport) -> None:
        """The socket is there: write what waits."""
        self.transport = transport
        self._writable = True
        self._flush()

    def pause(self) -> None:
        """The socket is full; frames wait in the outbox."""
        self._writable = False

    def resume(self) -> None:
        self._writable = True
        self._flush()

    def end(self, reason: str) -> None:
        """Close the socket and tell everyone why."""
        if self.transport is not None:
            self.transport.abort()
        self.lose(f"{self.label or 'the other end'}: {reason}")
        if not self.closed.done():
            self.closed.set_result(reason)

    def _flush(self) -> None:
        self._scheduled = False
        transport = self.transport
        if transport is None:
            return
        while self._writable and (batch := self.outbox.take()):
            transport.write(len(batch).to_bytes(_LENGTH, "big") + batch)


class _Reader(asyncio.Protocol):
    """Cuts what arrives into batches for one peer."""

    def __init__(self) -> None:
        self._buffer = b""
        self._transport: asyncio.Transport | None = None
        self.peer: SocketPeer | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one, but is not derived from it

    def data_received(self, data: bytes) -> None:
        peer = self.peer
        if peer is None or peer.lost:
            return
        buffer = self._buffer + data if self._buffer else data
        try:
            self._buffer = buffer[receive_batches(peer, buffer) :]
        except ProtocolError as error:
            peer.end(str(error))

    def pause_writing(self) -> None:
        if self.peer is not None:
            self.peer.pause()

    def resume_writing(self) -> None:
        if self.peer is not None:
            self.peer.resume()

    def connection_lost(self, exc: Exception | None) -> None:
        if self.peer is not None:
            self.peer.end(str(exc) if exc else "closed by the other end")


class _Listener(_Reader):
    """The answering end: reads the preface, then is a reader."""

    def __init__(self, accept: Accept) -> None:
        super().__init__()
        self._accept = accept

    def data_received(self, data: bytes) -> None:
        if self.peer is not None:
            super().data_received(data)
            return
        self._buffer += data
        line, found, rest = self._buffer.partition(b"\n")
        assert self._transport is not None
        if not PREFACE.startswith(line[: len(PREFACE)]) or len(line) > MAX_PREFACE_BYTES:
            self._transport.abort()
        elif found:
            self._begin(line[len(PREFACE) :].decode("ascii", "replace"), rest)

    def _begin(self, service: str, rest: bytes) -> None:
        assert self._transport is not None
        peer = SocketPeer(_Nobody(), dialled=False)
        events = self._accept(service, peer)
        if events is None:
            self._transport.abort()
            return
        peer.events = events
        self._buffer = b""
        self.peer = peer
        peer.attach(self._transport)
        if rest:
            super().data_received(rest)


class _Nobody:
    """Events of a peer that was not accepted yet."""

    def on_open(self, peer: Peer, frame: pb.Frame) -> None: ...

    def on_control(self, peer: Peer, frame: pb.Frame) -> None: ...

    def on_lost(self, peer: Peer) -> None: ...


def receive_batches(peer: Peer, buffer: bytes) -> int:
    """Hand every whole batch in `buffer` to the peer; returns the bytes used. Raises ProtocolError."""
    used = 0
    available = len(buffer)
    while available - used >= _LENGTH:
        size = int.from_bytes(buffer[used : used + _LENGTH], "big")
        if size > MAX_MESSAGE_BYTES:
            raise ProtocolError(f"a batch of {size} bytes is over {MAX_MESSAGE_BYTES}")
        end = used + _LENGTH + size
        if end > available:
            break
        peer.receive(buffer[used + _LENGTH : end])
        used = end
    return used


@asynccontextmanager
async def serve_socket(path: Path, accept: Accept, mode: int) -> AsyncIterator[None]:
    """Listen on a unix socket while open; an old socket file is replaced. mode: of the file."""
    _remove(path)
    server = await asyncio.get_running_loop().create_unix_server(lambda: _Listener(accept), str(path))
    await asyncio.to_thread(path.chmod, mode)
    try:
        yield
    finally:
        server.close()
        _remove(path)


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)


async def dial_socket(path: Path, service: str, events: PeerEvents, label: str = "") -> SocketPeer:
    """Connect to a unix socket. Raises OSError when nobody listens."""
    transport, reader = await asyncio.get_running_loop().create_unix_connection(_Reader, str(path))
    transport.write(PREFACE + service.encode("ascii") + b"\n")
    peer = SocketPeer(events, dialled=True, label=label)
    reader.peer = peer
    peer.attach(transport)
    return peer


async def run_socket(peer: SocketPeer, load: LoadReport | None = None) -> str:
    """Keep the stream alive until it ends; returns the reason. Cancelling closes it."""
    alive = asyncio.ensure_future(keep_alive(peer, load))
    peer.closed.add_done_callback(lambda _: alive.cancel())
    try:
        await alive
    except SilentError as error:
        peer.end(str(error))
    except asyncio.CancelledError:
        if not peer.closed.done():
            peer.end("the stream was closed")
            raise
    return peer.closed.result()
