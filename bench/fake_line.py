"""A connection to the Registry for many fake sidecars: the few frames of HTTP/2 that it takes, written by hand.

A library takes ten times as long for each heartbeat, and of thousands of instances that would be what is measured. What
the operator sees is a hundred streams of gRPC on a connection, as from any client (RFC 9113, gRPC over HTTP2).
"""

import asyncio
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, cast

from switchboard_wire import names

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM, ACK, END_HEADERS = 1, 1, 4
INITIAL_WINDOW: Final = 4
FIRST_WINDOW: Final = 65535
# Nobody waits for a grant of ours: that is more than the operator ever says
OUR_WINDOW: Final = (1 << 31) - 1
HEAD: Final = 9


def frame(kind: int, flags: int, stream: int, body: bytes = b"") -> bytes:
    """One frame of HTTP/2."""
    return struct.pack(">I", len(body))[1:] + struct.pack(">BBI", kind, flags, stream) + body


def _literal(name: bytes, value: bytes) -> bytes:
    """A header as HPACK's literal that is not indexed (RFC 7541 6.2.2); both are short."""
    return b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value


REQUEST: Final = b"".join(
    _literal(name.encode(), value.encode())
    for name, value in (
        (":method", "POST"),
        (":scheme", "http"),
        (":path", names.REGISTRY_METHOD),
        (":authority", names.REGISTRY_SERVICE),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
    )
)


@dataclass(slots=True)
class Stream:
    """One fake sidecar's. heard: called with each message; ended: once, when the operator or the connection ends it."""

    number: int
    heard: Callable[[bytes], None]
    ended: Callable[[], None]
    window: int = FIRST_WINDOW
    buffer: bytearray = field(default_factory=bytearray)


class FakeLine(asyncio.Protocol):
    """Many streams on one connection."""

    def __init__(self) -> None:
        self.streams: dict[int, Stream] = {}
        self._next = 1
        self._window = self._first_window = FIRST_WINDOW
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None

    @property
    def is_open(self) -> bool:
        """Whether streams can be opened and written to."""
        return self._transport is not None

    def open(self, heard: Callable[[bytes], None], ended: Callable[[], None]) -> Stream:
        """Begin a stream."""
        stream = Stream(self._next, heard, ended, self._first_window)
        self._next += 2
        self.streams[stream.number] = stream
        self._write(frame(HEADERS, END_HEADERS, stream.number, REQUEST))
        return stream

    def say(self, stream: Stream, message: bytes) -> bool:
        """Send a message; False when the other end has no room for it, or the stream is over."""
        body = b"\0" + struct.pack(">I", len(message)) + message
        if stream.number not in self.streams or len(body) > min(self._window, stream.window):
            return False
        self._window -= len(body)
        stream.window -= len(body)
        self._write(frame(DATA, 0, stream.number, body))
        return True

    def close(self, stream: Stream) -> None:
        """End a stream."""
        if self.streams.pop(stream.number, None) is not None:
            self._write(frame(RST_STREAM, 0, stream.number, struct.pack(">I", 8)))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        settings = struct.pack(">HI", INITIAL_WINDOW, OUR_WINDOW)
        grant = struct.pack(">I", OUR_WINDOW - FIRST_WINDOW)
        self._write(PREFACE + frame(SETTINGS, 0, 0, settings) + frame(WINDOW_UPDATE, 0, 0, grant))

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        streams, self.streams = self.streams, {}
        for stream in streams.values():
            stream.ended()

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer
        buffer += data
        start = 0
        while len(buffer) - start >= HEAD:
            size = int.from_bytes(buffer[start : start + 3], "big")
            end = start + HEAD + size
            if len(buffer) < end:
                break
            kind, flags, stream = struct.unpack_from(">BBI", buffer, start + 3)
            self._take(kind, flags, stream, bytes(buffer[start + HEAD : end]))
            start = end
        del buffer[:start]

    def _take(self, kind: int, flags: int, number: int, body: bytes) -> None:
        stream = self.streams.get(number)
        if kind == DATA and stream is not None:
            _hear(stream, body)
        elif kind == SETTINGS and not flags & ACK:
            self._settle(body)
        elif kind == PING and not flags & ACK:
            self._write(frame(PING, ACK, 0, body))
        elif kind == WINDOW_UPDATE:
            (more,) = struct.unpack(">I", body)
            if stream is not None:
                stream.window += more
            elif number == 0:
                self._window += more
        elif kind == GOAWAY and self._transport is not None:
            self._transport.close()
        if stream is not None and (kind == RST_STREAM or (kind in (DATA, HEADERS) and flags & END_STREAM)):
            del self.streams[number]
            stream.ended()

    def _settle(self, body: bytes) -> None:
        for name, value in struct.iter_unpack(">HI", body):
            if name == INITIAL_WINDOW:
                for stream in self.streams.values():
                    stream.window += value - self._first_window
                self._first_window = value
        self._write(frame(SETTINGS, ACK, 0))

    def _write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)


def _hear(stream: Stream, body: bytes) -> None:
    stream.buffer += body
    while len(stream.buffer) >= 5:
        size = int.from_bytes(stream.buffer[1:5], "big")
        if len(stream.buffer) < 5 + size:
            return
        message = bytes(stream.buffer[5 : 5 + size])
        del stream.buffer[: 5 + size]
        stream.heard(message)
