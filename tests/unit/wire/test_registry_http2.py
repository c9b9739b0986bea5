"""A sidecar's stream to the operator against an HTTP/2 server in memory: what is said, granted, lost."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import DataReceived, RequestReceived, StreamReset

from switchboard_wire import names
from switchboard_wire.internal_v1.registry_pb2 import Directive, Registered, Report
from switchboard_wire.registry_http2 import Http2Line, LineLost
from switchboard_wire.v1 import frames_pb2 as pb

OPERATOR = Directive(registered=Registered(operator="operator-1", heartbeat_interval_ms=2000))


class Wire(asyncio.Transport):
    """Joins a line to a server of h2; both hear of each other at once."""

    def __init__(self) -> None:
        super().__init__()
        self.server = H2Connection(H2Configuration(client_side=False, header_encoding=None))
        self.server.initiate_connection()
        self.line = Http2Line("operator:7420", "https")
        self.events: list[Any] = []
        self.closed = self.aborted = False
        self.grants = True
        self.line.connection_made(self)
        self.tell()

    def write(self, data: Any) -> None:
        for event in self.server.receive_data(data):
            self.events.append(event)
            if isinstance(event, DataReceived) and self.grants:
                self.server.acknowledge_received_data(event.flow_controlled_length or 0, 1)
        asyncio.get_running_loop().call_soon(self.tell)

    def tell(self) -> None:
        """Hand the line what the server has to say."""
        if (data := self.server.data_to_send()) and not self.closed:
            self.line.data_received(data)

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = self.aborted = True

    def answer(self, *directives: Directive, end: bool = False) -> None:
        """The operator's words, each as gRPC frames it."""
        self.server.send_headers(1, [(":status", "200"), ("content-type", "application/grpc")])
        for directive in directives:
            self.say(directive)
        if end:
            self.server.send_headers(1, [("grpc-status", "0")], end_stream=True)
        self.tell()

    def say(self, directive: Directive) -> None:
        data = directive.SerializeToString()
        self.server.send_data(1, b"\0" + len(data).to_bytes(4, "big") + data)

    def said(self) -> bytes:
        """What the line has sent as messages."""
        return b"".join(event.data or b"" for event in self.events if isinstance(event, DataReceived))


async def read(wire: Wire) -> list[Directive]:
    return [directive async for directive in wire.line.directives()]


def message(report: Report) -> bytes:
    data = report.SerializeToString()
    return b"\0" + len(data).to_bytes(4, "big") + data


async def test_a_stream_is_a_call_of_the_registrys_method() -> None:
    wire = Wire()
    (request,) = [event for event in wire.events if isinstance(event, RequestReceived)]
    headers = dict(request.headers or ())
    assert headers[b":path"] == names.REGISTRY_METHOD.encode()
    assert (headers[b"content-type"], headers[b"te"]) == (b"application/grpc", b"trailers")


async def test_what_both_ends_say_arrives_whole_and_in_order() -> None:
    wire = Wire()
    hello = Report(hello=pb.Hello(namespace="team", token="t" * 900))
    await wire.line.write(hello)
    await wire.line.write(Report())
    assert wire.said() == message(hello) + message(Report())
    wire.answer(OPERATOR, Directive(), OPERATOR, end=True)
    assert await read(wire) == [OPERATOR, Directive(), OPERATOR]


async def test_a_report_that_is_larger_than_the_window_waits_for_grants() -> None:
    wire = Wire()
    wire.grants = False
    large = Report(hello=pb.Hello(token="x" * 200_000))
    writing = asyncio.create_task(wire.line.write(large))
    for _ in range(10):
        await asyncio.sleep(0)
    assert not writing.done()
    assert 0 < len(wire.said()) < 70_000
    wire.grants = True
    wire.server.acknowledge_received_data(len(wire.said()), 1)
    wire.tell()
    await writing
    assert wire.said() == message(large)


async def test_a_directive_that_is_larger_than_the_window_is_granted_as_it_comes() -> None:
    wire = Wire()
    large = Directive(assignments=pb.Assignments(ca_bundle="x" * 200_000))
    data = large.SerializeToString()
    left = b"\0" + len(data).to_bytes(4, "big") + data
    wire.server.send_headers(1, [(":status", "200")])
    while left:
        size = min(wire.server.local_flow_control_window(1), wire.server.max_outbound_frame_size, len(left))
        assert size > 0, "the line grants nothing more"
        wire.server.send_data(1, left[:size])
        left = left[size:]
        wire.tell()
    assert await anext(wire.line.directives()) == large


async def test_an_operator_that_says_more_than_is_read_is_granted_no_more() -> None:
    wire = Wire()
    wire.server.send_headers(1, [(":status", "200")])
    piece = Directive(assignments=pb.Assignments(ca_bundle="x" * 4000))
    count = 0
    while wire.server.local_flow_control_window(1) > 5000 and count < 1000:
        wire.say(piece)
        wire.tell()
        count += 1
    assert 8 < count < 40
    directives = wire.line.directives()
    for _ in range(count):
        assert await anext(directives) == piece
    assert wire.server.local_flow_control_window(1) > 5000


Break = Callable[[Wire], None]


def trailers(wire: Wire) -> None:
    wire.server.send_headers(1, [(":status", "200"), ("grpc-status", "16"), ("grpc-message", "no%20token")], True)


@pytest.mark.parametrize(
    ("breaks", "why"),
    [
        pytest.param(trailers, "gRPC status 16: no token", id="refused with a status"),
        pytest.param(
            lambda wire: wire.server.send_headers(1, [(":status", "503")], True),
            "HTTP status 503",
            id="a proxy's error",
        ),
        pytest.param(lambda wire: wire.server.reset_stream(1, ErrorCodes.CANCEL), "reset", id="reset"),
        pytest.param(lambda wire: wire.server.close_connection(), "goes away", id="GOAWAY"),
        pytest.param(lambda wire: wire.line.connection_lost(None), "was closed", id="the connection ends"),
        pytest.param(
            lambda wire: wire.line.data_received(bytes(3) + b"\4" + bytes(4) + b"\1"), "as agreed", id="a fault"
        ),
    ],
)
async def test_a_stream_that_breaks_says_why_to_reader_and_writer(breaks: Break, why: str) -> None:
    wire = Wire()
    breaks(wire)
    wire.tell()
    with pytest.raises(LineLost, match=why):
        await read(wire)
    with pytest.raises(LineLost, match=why):
        await wire.line.write(Report())
    assert wire.closed


@pytest.mark.parametrize("start", [b"\1\0\0\0\0", b"\0\xff\0\0\0"], ids=["compressed", "too large"])
async def test_a_message_that_no_operator_sends_ends_the_stream(start: bytes) -> None:
    wire = Wire()
    wire.server.send_headers(1, [(":status", "200")])
    wire.server.send_data(1, start)
    wire.tell()
    with pytest.raises(LineLost, match="compressed, or too large"):
        await read(wire)


async def test_whoever_speaks_no_http2_is_told_by_its_first_bytes() -> None:
    wire = Wire()
    line = Http2Line("operator:7420", "http")
    wire.server = H2Connection(H2Configuration(client_side=False, header_encoding=None))
    line.connection_made(wire)
    line.data_received(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    with pytest.raises(LineLost, match="no HTTP/2"):
        await line.write(Report())
    assert wire.closed


async def test_closing_cancels_the_call_and_is_safe_twice() -> None:
    wire = Wire()
    await wire.line.close()
    await wire.line.close()
    assert wire.closed
    assert any(isinstance(event, StreamReset) for event in wire.events)


async def test_an_operator_that_answers_no_ping_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("switchboard_wire.registry_http2.PING_EVERY_S", 0.02)
    monkeypatch.setattr("switchboard_wire.registry_http2.PING_WAIT_S", 0.01)
    wire = Wire()
    monkeypatch.setattr(wire, "tell", lambda: None)
    async with asyncio.timeout(60):
        with pytest.raises(LineLost, match="is silent"):
            await read(wire)
    assert wire.aborted, "what it did not take is kept"
