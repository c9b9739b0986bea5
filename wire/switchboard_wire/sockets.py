"""Streams of batches on a socket, unix or TCP with or without TLS: each batch after its length in four bytes.

Both ends are ours and need nothing of HTTP/2, and a gRPC message costs its ends several turns of the loop and a change
of threads: docs/adr/0006 and 0007 have what it brought. One write serves all calls of a turn of the loop.

The dialling end begins with one line, `switchboard/1 SERVICE`, so that a stranger is told apart at once.
"""

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

from switchboard_wire.keeping_alive import LoadReport, SilentError, keep_alive
from switchboard_wire.limits import MAX_MESSAGE_BYTES
from switchboard_wire.outbox import MAX_BATCH_FRAMES, enough_for_a_batch
from switchboard_wire.peer import Peer, PeerEvents, ProtocolError
from switchboard_wire.v1 import frames_pb2 as pb

PREFACE: Final = b"switchboard/1 "
MAX_PREFACE_BYTES: Final = 64
# A stranger that says nothing, or says it too slowly, is let go after this; also the limit of a TLS handshake
PREFACE_WAIT_S: Final = 5.0
_LENGTH: Final = 4

# (service, the new peer) → its events; None: no such service here. The peer's owner keeps it alive by `run_socket`.
Accept = Callable[[str, "SocketPeer"], PeerEvents | None]


class SocketPeer(Peer):
    """A peer on a socket: what is sent in one turn of the loop goes out together, at its end or when it is enough."""

    __slots__ = ("_enough", "_loop", "_scheduled", "_writable", "closed", "transport")

    def __init__(self, events: PeerEvents, *, dialled: bool, label: str = "") -> None:
        super().__init__(events, dialled=dialled, label=label)
        self._loop = asyncio.get_running_loop()
        self._scheduled = False
        self._writable = False
        self._enough = MAX_BATCH_FRAMES
        self.transport: asyncio.Transport | None = None
        self.closed: asyncio.Future[str] = self._loop.create_future()

    def send(self, frame: pb.Frame) -> None:
        if self._is_shut and not self._passes(frame):
            return
        waiting = self.outbox.append(frame)
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._flush)
        elif waiting >= self._enough and self._writable and (batch := self.outbox.take()):
            self._write_batch(batch)

    def attach(self, transport: asyncio.Transport) -> None:
        """The socket is there: write what waits."""
        self.transport = transport
        self._writable = True
        self._flush()

    @property
    def remote(self) -> str:
        """The IP address of the other end; empty on a unix socket, and once the socket is gone."""
        found = self.transport.get_extra_info("peername") if self.transport is not None else None
        return str(found[0]) if isinstance(found, tuple) else ""

    @property
    def is_flushed(self) -> bool:
        """Whether the kernel has all that was sent; only then may the process end without losing any of it."""
        waiting = self.transport.get_write_buffer_size() if self.transport is not None else 0
        return not self._scheduled and not len(self.outbox) and not waiting

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

    def _write_batch(self, batch: bytes) -> None:
        self.transport.write(len(batch).to_bytes(_LENGTH, "big") + batch)  # type: ignore[union-attr]

    def _flush(self) -> None:
        self._scheduled = False
        if self.transport is None:
            return
        self._enough = enough_for_a_batch(len(self.calls))
        while self._writable and (batch := self.outbox.take()):
            self._write_batch(batch)
        if not self._writable or self._is_shut:
            self._measure()


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
        self._patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._patience = asyncio.get_running_loop().call_later(PREFACE_WAIT_S, self._give_up)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def _give_up(self) -> None:
        if self.peer is None and self._transport is not None:
            self._transport.abort()

    def _stop_waiting(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

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
            self._stop_waiting()
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


def listener(accept: Accept) -> asyncio.Protocol:
    """The answering end of one connection, for those who open the port themselves."""
    return _Listener(accept)


@dataclass(frozen=True, slots=True)
class DialTls:
    """How a dialler checks who answers. name: what the certificate must be for, whatever address was dialled."""

    context: ssl.SSLContext
    name: str


async def dial_socket(path: Path, service: str, events: PeerEvents, label: str = "") -> SocketPeer:
    """Connect to a unix socket. Raises OSError when nobody listens."""
    transport, reader = await asyncio.get_running_loop().create_unix_connection(_Reader, str(path))
    return _begin(transport, reader, service, SocketPeer(events, dialled=True, label=label))


async def dial_tcp(address: str, service: str, peer: SocketPeer, tls: DialTls | None = None) -> SocketPeer:
    """Connect `peer` to `host:port`. Raises OSError when nobody answers within 5 s or its certificate is not right."""
    host, _, port = address.rpartition(":")
    context, name = (tls.context, tls.name) if tls is not None else (None, None)
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(PREFACE_WAIT_S):
        transport, reader = await loop.create_connection(
            _Reader, host.strip("[]"), int(port), ssl=context, server_hostname=name
        )
    return _begin(transport, reader, service, peer)


def _begin(transport: asyncio.Transport, reader: _Reader, service: str, peer: SocketPeer) -> SocketPeer:
    transport.write(PREFACE + service.encode("ascii") + b"\n")
    reader.peer = peer
    peer.attach(transport)
    return peer


async def run_socket(peer: SocketPeer, load: LoadReport | None = None) -> str:
    """Keep the stream alive until it ends; returns the reason. Cancelling closes it."""
    alive = asyncio.ensure_future(keep_alive(peer, load))
    try:
        # Not `await alive`, which a cancellation of `alive` ends as one of this task does: the latter must not be lost
        await asyncio.wait((alive, peer.closed), return_when=asyncio.FIRST_COMPLETED)
        if not peer.closed.done():
            alive.result()
    except SilentError as error:
        peer.end(str(error))
    except asyncio.CancelledError:
        if not peer.closed.done():
            peer.end("the stream was closed")
        raise
    finally:
        alive.cancel()
    return peer.closed.result()
