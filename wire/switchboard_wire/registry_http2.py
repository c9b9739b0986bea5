"""A stream of the Registry over h2: all that a sidecar needs of gRPC, without the 14 MB that its library takes.

One bidirectional call on a connection of its own, by gRPC over HTTP/2
(https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md). The operator's end is grpc's server.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Final, cast
from urllib.parse import unquote

from google.protobuf.message import DecodeError
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    RemoteSettingsChanged,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
    WindowUpdated,
)
from h2.exceptions import ProtocolError

from switchboard_wire import names
from switchboard_wire.internal_v1.registry_pb2 import Directive, Report
from switchboard_wire.limits import MAX_MESSAGE_BYTES
from switchboard_wire.security import Dialling

DIAL_S: Final = 5.0
# An operator says next to nothing: only HTTP/2 pings can show that it was cut off silently
PING_EVERY_S: Final = 10.0
PING_WAIT_S: Final = 5.0
# Directives that may wait to be read before the operator is granted no more to send
MAX_WAITING: Final = 8
_STREAM: Final = 1  # the first of a client
_PREFIX: Final = 5  # of a message: a byte that says whether it is compressed, and its length
_OK: Final = b"0"
# The type of the frame with which a server begins (RFC 9113 3.4), in its fourth byte: h2 would wait for the end of a
# frame before it looks whether it is one
_SETTINGS: Final = b"\4"


class LineLost(ConnectionError):
    """The stream ended otherwise than by the operator's word."""


class Http2Line(asyncio.Protocol):
    """A stream to one replica of the operator: one reader, one writer. address: that was dialled."""

    def __init__(self, address: str, scheme: str) -> None:
        self.address = address
        self._scheme = scheme
        self._loop = asyncio.get_running_loop()
        self._h2 = H2Connection(H2Configuration(client_side=True, header_encoding=None))
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._messages: deque[bytes] = deque()
        self._ungranted = 0
        self._is_full = False  # the socket takes no more for now
        self._is_over = False
        self._why = ""
        self._news = asyncio.Event()  # something to read, or the end
        self._room = asyncio.Event()  # perhaps something may be written
        self._was_greeted = self._was_heard = False
        self._timer: asyncio.TimerHandle | None = None

    async def write(self, report: Report) -> None:
        """Say something, when the other end has room for it. Raises LineLost."""
        data = report.SerializeToString()
        left = b"\0" + len(data).to_bytes(_PREFIX - 1, "big") + data
        while left:
            if self._is_over:
                raise LineLost(self._why or "closed by the operator")
            window = self._h2.local_flow_control_window(_STREAM)
            size = 0 if self._is_full else min(window, self._h2.max_outbound_frame_size, len(left))
            if size <= 0:
                self._room.clear()
                await self._room.wait()
                continue
            self._h2.send_data(_STREAM, left[:size])
            left = left[size:]
            self._flush()

    async def directives(self) -> AsyncIterator[Directive]:
        """What the operator says until it ends the stream. Raises LineLost."""
        while self._messages or not self._is_over:
            if not self._messages:
                self._news.clear()
                await self._news.wait()
                continue
            try:
                directive = Directive.FromString(self._messages.popleft())
            except DecodeError as error:
                raise LineLost(f"no directive: {error}") from error
            self._grant()
            yield directive
        if self._why:
            raise LineLost(self._why)

    async def close(self) -> None:
        """End the stream, if it has not ended."""
        if not self._is_over:
            self._h2.reset_stream(_STREAM, ErrorCodes.CANCEL)
            self._flush()
            self._end("closed here")

    # What the transport tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one, but is not derived from it
        self._h2.initiate_connection()
        headers = [
            (":method", "POST"),
            (":scheme", self._scheme),
            (":path", names.REGISTRY_METHOD),
            (":authority", names.REGISTRY_SERVICE),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
        ]
        self._h2.send_headers(_STREAM, headers)
        self._flush()
        self._timer = self._loop.call_later(PING_EVERY_S, self._ping)

    def data_received(self, data: bytes) -> None:
        if self._is_over:
            return
        self._was_heard = True
        if not self._was_greeted:
            self._was_greeted = True
            if data[3:4] != _SETTINGS:
                self._end("the other end speaks no HTTP/2")
                return
        try:
            for event in self._h2.receive_data(data):
                self._take(event)
            self._grant()
        except ProtocolError as error:
            self._flush()  # it says to the other end what was wrong
            self._end(f"not HTTP/2 as agreed: {error}")

    def pause_writing(self) -> None:
        self._is_full = True

    def resume_writing(self) -> None:
        self._is_full = False
        self._room.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(str(exc) if exc else "the connection was closed by the other end")

    # Inside

    def _take(self, event: Event) -> None:
        if isinstance(event, DataReceived):
            self._ungranted += event.flow_controlled_length or 0
            self._buffer += event.data or b""
            self._cut()
        elif isinstance(event, ResponseReceived | TrailersReceived):
            self._why = self._why or _fault_of(event.headers or ())
        elif isinstance(event, WindowUpdated | RemoteSettingsChanged):
            self._room.set()
        elif isinstance(event, StreamEnded):
            self._end(self._why)
        elif isinstance(event, StreamReset):
            self._end(f"reset by the operator, HTTP/2 error {int(event.error_code or 0)}")
        elif isinstance(event, ConnectionTerminated):
            self._end("the operator goes away")

    def _cut(self) -> None:
        """Take the whole messages out of what has come."""
        while len(self._buffer) >= _PREFIX:
            size = int.from_bytes(self._buffer[1:_PREFIX], "big")
            if self._buffer[0] or size > MAX_MESSAGE_BYTES:
                self._end("a message is compressed, or too large")
                return
            if len(self._buffer) < _PREFIX + size:
                return
            self._messages.append(self._buffer[_PREFIX : _PREFIX + size])
            self._buffer = self._buffer[_PREFIX + size :]
            self._news.set()

    def _grant(self) -> None:
        """Let the operator send as much again as was taken, unless too much waits; and write what h2 has to say."""
        if self._ungranted and len(self._messages) <= MAX_WAITING and not self._is_over:
            self._h2.acknowledge_received_data(self._ungranted, _STREAM)
            self._ungranted = 0
        self._flush()

    def _flush(self) -> None:
        data = self._h2.data_to_send()
        if data and self._transport is not None:
            self._transport.write(data)

    def _ping(self) -> None:
        self._was_heard = False
        self._h2.ping(bytes(8))
        self._flush()
        self._timer = self._loop.call_later(PING_WAIT_S, self._listen)

    def _listen(self) -> None:
        if self._was_heard:
            self._timer = self._loop.call_later(PING_EVERY_S - PING_WAIT_S, self._ping)
        else:
            if self._transport is not None:
                self._transport.abort()  # close() would wait for what is unsent, which nobody takes
            self._end(f"the operator is silent for {PING_WAIT_S:g} s")

    def _end(self, why: str) -> None:
        if self._is_over:
            return
        self._is_over, self._why = True, why
        if self._timer is not None:
            self._timer.cancel()
        if self._transport is not None:
            self._transport.close()
        self._news.set()
        self._room.set()


def _fault_of(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """What response headers or trailers say that went wrong; empty when nothing did."""
    found = dict(headers)
    status = found.get(b"grpc-status", _OK)
    if found.get(b":status", b"200") != b"200":
        return f"HTTP status {found[b':status'].decode('ascii', 'replace')}"
    message = unquote(found.get(b"grpc-message", b"").decode("ascii", "replace"))
    return "" if status == _OK else f"gRPC status {status.decode('ascii', 'replace')}: {message}"


def http2_dial(dialling: Dialling) -> Callable[[str], Awaitable[Http2Line]]:
    """How a line to an address is opened. It raises OSError, NoTrustYet among them."""

    async def dial(address: str) -> Http2Line:
        loop = asyncio.get_running_loop()
        is_local = address.startswith("unix:")
        tls = None if is_local else dialling.tls(names.REGISTRY_SERVICE)
        line = Http2Line(address, "http" if tls is None else "https")
        async with asyncio.timeout(DIAL_S):
            if is_local:
                await loop.create_unix_connection(lambda: line, address.removeprefix("unix:"))
            else:
                host, _, port = address.rpartition(":")
                context, name = (tls.context, tls.name) if tls is not None else (None, None)
                await loop.create_connection(
                    lambda: line, host.strip("[]"), int(port), ssl=context, server_hostname=name
                )
        return line

    return dial
