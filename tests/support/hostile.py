"""Hands for hostile clients: raw sockets, raw HTTP/2, raw batches of frames; and a polite client beside them."""

import contextlib
import json
import socket
import struct
import threading
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import grpc
from processes import HOST, Gateway, Program

from switchboard import SyncClient
from switchboard_wire.names import LINK_SERVICE, SESSION_METHOD, SESSION_SERVICE
from switchboard_wire.sockets import PREFACE
from switchboard_wire.v1 import frames_pb2 as pb

PATIENCE_S = 120.0
H2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def connect(port: int, timeout_s: float = PATIENCE_S) -> socket.socket:
    return socket.create_connection((HOST, port), timeout_s)


def is_closed(stranger: socket.socket, within_s: float = PATIENCE_S) -> bool:
    """Whether the other end closes the connection in time; what it says before does not matter."""
    stranger.settimeout(within_s)
    ends = time.monotonic() + within_s
    while time.monotonic() < ends:
        try:
            if not stranger.recv(65536):
                return True
        except TimeoutError:
            return False
        except OSError:
            return True
    return False


def h2_frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """One HTTP/2 frame, RFC 9113 4.1."""
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def h2_headers(path: str, extra: tuple[tuple[str, str], ...] = ()) -> bytes:
    """The header block of a gRPC request, all of it literal without indexing, RFC 7541 6.2.2."""
    fields = (
        (":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "x"),
        ("content-type", "application/grpc"), ("te", "trailers"), *extra,
    )  # fmt: skip
    return b"".join(b"\x00" + _literal(name) + _literal(value) for name, value in fields)


def _literal(text: str) -> bytes:
    data = text.encode()
    if len(data) < 127:
        return bytes([len(data)]) + data
    rest, coded = len(data) - 127, bytearray([127])
    while rest >= 128:
        coded.append(rest % 128 + 128)
        rest //= 128
    return bytes([*coded, rest]) + data


class Wire:
    """One end of a stream of batches on a plain socket, that says what it is told to and answers pings by itself."""

    def __init__(self, raw: socket.socket) -> None:
        self.raw = raw
        self.frames: list[pb.Frame] = []
        self.closed = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._read, self._ping)]
        for thread in self._threads:
            thread.start()

    def say(self, *frames: pb.Frame) -> None:
        self.write(pb.Batch(frames=frames).SerializeToString())

    def write(self, batch: bytes) -> None:
        """A batch that may be none. Raises OSError once the other end has closed."""
        self.write_raw(len(batch).to_bytes(4, "big") + batch)

    def write_raw(self, data: bytes) -> None:
        with self._lock:
            self.raw.sendall(data)

    def answer_to(self, call: int) -> pb.Frame:
        """The CLOSE of a call."""
        found: list[pb.Frame] = []

        def look() -> bool:
            found[:] = [frame for frame in list(self.frames) if frame.kind == pb.CLOSE and frame.call == call]
            return bool(found)

        until(look)
        return found[0]

    def await_kind(self, kind: int, call: int | None = None) -> pb.Frame:
        found: list[pb.Frame] = []

        def look() -> bool:
            found[:] = [f for f in list(self.frames) if f.kind == kind and (call is None or f.call == call)]
            return bool(found)

        until(look)
        return found[0]

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.raw.shutdown(socket.SHUT_RDWR)
        self.raw.close()

    def _read(self) -> None:
        buffer = b""
        try:
            while data := self.raw.recv(65536):
                buffer += data
                while len(buffer) >= 4 and len(buffer) >= (end := 4 + int.from_bytes(buffer[:4], "big")):
                    frames = pb.Batch.FromString(buffer[4:end]).frames
                    self.frames.extend(frame for frame in frames if frame.kind != pb.PING)
                    buffer = buffer[end:]
        except (OSError, ValueError):
            pass
        self.closed.set()

    def _ping(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            while not self.closed.wait(0.5):
                self.say(pb.Frame(kind=pb.PING))


def until(condition: Callable[[], object], within_s: float = PATIENCE_S) -> None:
    ends = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < ends, "it never held"
        time.sleep(0.01)


def ticket_of(gateway: Gateway) -> tuple[str, str]:
    """(address, ticket) of a session's plain socket, as the gRPC port gives it."""
    done = threading.Event()

    def nothing() -> Iterator[bytes]:
        done.wait(PATIENCE_S)
        yield from ()

    with grpc.insecure_channel(gateway.address) as channel:
        stream = channel.stream_stream(SESSION_METHOD)(nothing())
        for data in stream:
            for frame in pb.Batch.FromString(data).frames:
                if frame.kind == pb.HELLO and frame.hello.socket:
                    stream.cancel()
                    done.set()
                    return frame.hello.socket, frame.hello.ticket
    raise AssertionError("no ticket was offered")


def open_session(gateway: Gateway) -> socket.socket:
    """A session's socket, past its preface."""
    address, ticket = ticket_of(gateway)
    raw = connect(int(address.rpartition(":")[2]))
    raw.sendall(PREFACE + f"{SESSION_SERVICE}/{ticket}\n".encode())
    return raw


def open_link(gateway: Gateway) -> socket.socket:
    """A link's socket, past its preface."""
    raw = connect(gateway.links_port)
    raw.sendall(PREFACE + f"{LINK_SERVICE}\n".encode())
    return raw


def opening(call: int, type_: str = "echo", data: bytes = b"hi", *, end: bool = True, **fields: object) -> pb.Frame:
    opened = pb.Open(target=pb.Target(type=type_), **fields)  # type: ignore[arg-type]
    return pb.Frame(kind=pb.OPEN, call=call, open=opened, data=data, end=end)


@dataclass
class Bystander:
    """A polite client, over REST and a session, from its beginning to its end. slowest_s: of all its calls.

    They may be delivered twice: what a busy machine lets stand still for seconds loses its stream, by design.
    """

    gateway: Gateway
    agent: str = "echo"
    answered: int = 0
    slowest_s: float = 0.0
    faults: list[str] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> "Bystander":
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._over_rest, self._over_session)]
        for thread in self._threads:
            thread.start()
        until(lambda: self.answered >= 4 or self.faults)
        return self

    def __exit__(self, *_: object) -> None:
        before = self.answered
        until(lambda: self.answered >= before + 4 or self.faults)  # it is served after the act, too
        self._stop.set()
        for thread in self._threads:
            thread.join(PATIENCE_S)

    def _over_rest(self) -> None:
        def ask() -> str:
            request = urllib.request.Request(
                f"{self.gateway.url}/api/v1/agents/{self.agent}/execute",
                json.dumps({"input": "polite"}).encode(),
                {"Content-Type": "application/json", "Idempotency-Key": uuid.uuid4().hex},
            )
            with urllib.request.urlopen(request, timeout=PATIENCE_S) as response:
                answer: str = json.load(response)["output"]
                return answer

        self._repeat(ask)

    def _over_session(self) -> None:
        with SyncClient(self.gateway.address, timeout_s=PATIENCE_S, connect_timeout_s=PATIENCE_S) as client:
            self._repeat(lambda: client.request(self.agent, "polite", idempotent=True).value)

    def _repeat(self, ask: Callable[[], object]) -> None:
        while not self._stop.wait(0.02):
            began = time.monotonic()
            try:
                answer = ask()
            except Exception as error:  # noqa: BLE001 - whatever goes wrong is the finding
                self.faults.append(f"{type(error).__name__}: {error}")
                return
            if answer != "polite":
                self.faults.append(f"answered {answer!r}")
            self.answered += 1
            self.slowest_s = max(self.slowest_s, time.monotonic() - began)


@dataclass
class World:
    """A gateway, a pod, and whoever wants to harm them."""

    gateway: Gateway
    sidecar: Program
    programs: list[Program]

    @property
    def rss_mib(self) -> dict[str, float]:
        return {"gateway": self.gateway.rss_mib, "sidecar": self.sidecar.rss_mib}
