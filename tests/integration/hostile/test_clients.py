"""Clients that break the rules of a session, or of REST: each gets a typed error or loses its connection."""

import contextlib
import json
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest
from hostile import PATIENCE_S, Wire, World, is_closed, open_session, opening, until

from switchboard_wire.limits import INITIAL_CREDIT_BYTES, MAX_DATA_BYTES
from switchboard_wire.v1 import frames_pb2 as pb


@pytest.fixture
def session(world: World) -> Iterator[Wire]:
    wire = Wire(open_session(world.gateway))
    yield wire
    wire.close()


def code_of(frame: pb.Frame) -> str:
    return pb.Code.Name(frame.error.code)


@pytest.mark.parametrize(
    ("target", "code"),
    [
        pytest.param(pb.Target(), "INVALID_AGENT_ID", id="no target"),
        pytest.param(pb.Target(type="Not A Type"), "INVALID_AGENT_ID", id="a type that is none"),
        pytest.param(pb.Target(type="x" * 100_000), "INVALID_AGENT_ID", id="a type without end"),
        pytest.param(pb.Target(type="nobody"), "AGENT_NOT_FOUND", id="an unknown agent"),
        pytest.param(pb.Target(type="echo", namespace="elsewhere"), "AGENT_NOT_FOUND", id="an unknown namespace"),
        pytest.param(pb.Target(type="echo", key="k" * 100_000), "INVALID_AGENT_ID", id="a key without end"),
        pytest.param(pb.Target(capability="c" * 100_000), "AGENT_NOT_FOUND", id="a capability without end"),
        pytest.param(pb.Target(type="../../etc/passwd"), "INVALID_AGENT_ID", id="a path for a type"),
    ],
)
def test_a_target_at_fault_is_a_typed_error(session: Wire, target: pb.Target, code: str) -> None:
    session.say(pb.Frame(kind=pb.OPEN, call=1, end=True, open=pb.Open(target=target)))
    answer = session.answer_to(1)
    assert code_of(answer) == code
    assert len(answer.error.message) < 2000


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        pytest.param({"hops": 2**32 - 1}, "ROUTING_ERROR", id="hops that overflow"),
        pytest.param({"headers": {"x": "y" * 100_000}}, "VALIDATION_FAILED", id="a header without end"),
        pytest.param({"headers": {f"h{n}": "v" for n in range(20_000)}}, "VALIDATION_FAILED", id="headers without end"),
        pytest.param({"strategy": "s" * 100_000}, "VALIDATION_FAILED", id="a strategy that is none"),
        pytest.param({"deadline_ms": 2**32 - 1}, "OK", id="a deadline of weeks"),
        pytest.param({"priority": -(2**31)}, "OK", id="a negative priority"),
        pytest.param({"attempt": 2**32 - 1}, "OK", id="an attempt that overflows"),
        pytest.param({"chain": ["a/b"] * 1000}, "OK", id="a chain that nobody waits for"),
    ],
)
def test_a_field_at_fault_is_a_typed_error_or_of_no_effect(session: Wire, fields: dict[str, object], code: str) -> None:
    session.say(opening(1, **fields))
    assert code_of(session.answer_to(1)) == code


def test_a_payload_over_the_agents_limit_is_refused(session: Wire) -> None:
    session.say(opening(1, data=b"x" * MAX_DATA_BYTES, end=False))
    sent = 0
    with contextlib.suppress(OSError):
        for _ in range(40):
            session.say(pb.Frame(kind=pb.DATA, call=1, data=b"x" * MAX_DATA_BYTES))
            sent += 1
    assert code_of(session.answer_to(1)) in ("PAYLOAD_TOO_LARGE", "VALIDATION_FAILED")


def test_credit_that_is_overdrawn_ends_the_call(session: Wire) -> None:
    session.say(opening(1, "silent", b"", end=False))
    for _ in range(2 * INITIAL_CREDIT_BYTES // MAX_DATA_BYTES + 2):
        session.say(pb.Frame(kind=pb.DATA, call=1, data=b"x" * MAX_DATA_BYTES))
    answer = session.answer_to(1)
    assert code_of(answer) == "VALIDATION_FAILED", answer.error.message


def test_frames_of_calls_that_are_not_there_have_no_effect(session: Wire) -> None:
    for kind in (pb.DATA, pb.WINDOW, pb.HALF_CLOSE, pb.CLOSE, pb.CANCEL):
        for call in (1, 2, 77, 2**32 - 1):
            session.say(pb.Frame(kind=kind, call=call, data=b"x", credit=2**32 - 1))
    session.say(opening(3))
    assert session.answer_to(3).data == b"hi"


def test_a_number_that_is_used_already_does_not_begin_a_second_call(session: Wire) -> None:
    session.say(opening(1, "silent"), opening(1), opening(1), opening(3))
    assert session.answer_to(3).data == b"hi"
    assert [frame for frame in session.frames if frame.call == 1] == []
    session.say(pb.Frame(kind=pb.CANCEL, call=1))


@pytest.mark.parametrize("number", [0, 2, 4_000_000_000])
def test_a_number_of_the_other_end_ends_the_session(session: Wire, number: int) -> None:
    session.say(opening(number))
    assert session.closed.wait(PATIENCE_S)


def test_a_session_that_says_hello_twice_or_never_is_served(world: World, session: Wire) -> None:
    session.say(opening(1))
    assert session.answer_to(1).data == b"hi"
    hello = pb.Frame(kind=pb.HELLO, hello=pb.Hello(protocol_min=1, protocol_max=1))
    session.say(hello, hello, hello, opening(3))
    assert session.answer_to(3).data == b"hi"


def test_a_window_without_end_has_no_effect(session: Wire) -> None:
    session.say(opening(1, "pieces", b"20"))
    for _ in range(1000):
        session.say(pb.Frame(kind=pb.WINDOW, call=1, credit=2**32 - 1))
    session.answer_to(1)
    session.say(opening(3))
    assert session.answer_to(3).data == b"hi"


def test_a_list_of_agents_without_end_is_refused_whole(session: Wire) -> None:
    agents = [pb.HostedAgent(type=f"stolen-{number}", state=pb.HOSTED_READY) for number in range(20_000)]
    for _ in range(10):
        session.say(pb.Frame(kind=pb.HOSTED, hosted=pb.Hosted(agents=agents)))
    assert code_of(session.answer_to(0)) == "VALIDATION_FAILED"


def test_a_session_cannot_take_the_place_of_an_agent_that_is_there(world: World, session: Wire) -> None:
    hosted = pb.Hosted(agents=[pb.HostedAgent(type="echo", state=pb.HOSTED_READY)])
    session.say(pb.Frame(kind=pb.HELLO, hello=pb.Hello(hosted=hosted)))
    assert code_of(session.answer_to(0)) == "AGENT_ID_CONFLICT"


@pytest.mark.parametrize(
    "batch",
    [
        pytest.param(b"\xff" * 1000, id="no protobuf"),
        pytest.param(b"\x0a\xff\xff\xff\xff\x0f", id="a length that overflows"),
        pytest.param(b"\x0a\x04\x08\x02\x32\x7f", id="a field that is cut off"),
        pytest.param(b"\x0b" * 5000, id="groups nested deeply"),
        pytest.param(b"\x0a\x06\x08\x02\x32\x02\xff\xfe", id="a text that is no UTF-8"),
    ],
)
def test_a_batch_that_is_none_ends_the_session(session: Wire, batch: bytes) -> None:
    session.write(batch)
    assert session.closed.wait(PATIENCE_S)


def test_a_batch_of_many_frames_is_served(session: Wire) -> None:
    count = 5000
    session.say(*[opening(2 * number + 1, "nobody", b"") for number in range(count)])
    until(lambda: sum(frame.kind == pb.CLOSE for frame in session.frames) == count)


def test_more_calls_than_a_session_may_have_are_refused(session: Wire) -> None:
    for first in range(0, 11_000, 1000):
        session.say(*[opening(2 * n + 1, "silent", b"", deadline_ms=60_000) for n in range(first, first + 1000)])
    refused = session.await_kind(pb.CLOSE)
    assert code_of(refused) == "OVERLOADED"


@pytest.mark.parametrize("kind", ["pieces", "large"])
def test_a_client_that_stops_reading_its_session_costs_little(world: World, kind: str) -> None:
    raw = open_session(world.gateway)
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    with contextlib.closing(raw), contextlib.suppress(OSError):
        for number in range(400):
            frame = opening(2 * number + 1, kind, b"100000", deadline_ms=30_000)
            batch = pb.Batch(frames=[frame]).SerializeToString()
            raw.sendall(len(batch).to_bytes(4, "big") + batch)
        # It goes on to say that it lives, and does not read, while a polite client is served
        for _ in range(20):
            ping = pb.Batch(frames=[pb.Frame(kind=pb.PING)]).SerializeToString()
            raw.sendall(len(ping).to_bytes(4, "big") + ping)
            threading.Event().wait(0.3)  # the pace of pings, not a wait for anything


def test_clients_that_stop_reading_an_event_stream_cost_little(world: World) -> None:
    body = json.dumps({"input": 100_000}).encode()
    head = (
        "POST /api/v1/agents/pieces/execute HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode()
    strangers = []
    try:
        for _ in range(50):
            stranger = socket.socket()
            stranger.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            stranger.connect(("127.0.0.1", world.gateway.http_port))
            stranger.sendall(head + body)
            strangers.append(stranger)
        # Cut off by write_stall_s; only then the rest is read
        assert is_closed(strangers[0], 2 * PATIENCE_S)
    finally:
        for stranger in strangers:
            stranger.close()


@pytest.mark.parametrize(
    ("path", "headers", "body", "status"),
    [
        pytest.param("agents/echo/execute", {}, b"{" * 100_000, 400, id="no JSON"),
        pytest.param(
            "agents/echo/execute", {}, b'{"input": ' + b"[" * 200_000 + b"]" * 200_000 + b"}", 400, id="nested"
        ),
        pytest.param("agents/echo/execute", {}, b'{"input": "\xff\xfe"}', 400, id="no UTF-8"),
        pytest.param(
            "agents/echo/execute", {}, b'{"input": 1' + b"0" * 5000 + b"}", 400, id="a number of 5,000 digits"
        ),
        pytest.param("agents/echo/execute", {}, b'{"input": 1, "timeoutMs": -1}', 400, id="a negative timeout"),
        pytest.param("agents/echo/execute", {}, b'{"input": 1, "timeoutMs": 1e99}', 400, id="a timeout that overflows"),
        pytest.param("agents/echo/execute", {"Switchboard-Timeout-Ms": "9" * 50}, b'{"input": 1}', 400, id="a header"),
        pytest.param("agents/%ff%fe/execute", {}, b'{"input": 1}', 400, id="a path that is no UTF-8"),
        pytest.param("agents/NOT%20ONE/execute", {}, b'{"input": 1}', 400, id="a type that is none"),
        pytest.param("agents/nobody/execute", {}, b'{"input": 1}', 404, id="an unknown agent"),
        pytest.param("agents/echo/execute", {"X-Large": "y" * 20_000}, b"{}", 400, id="a header without end"),
        pytest.param("agents/echo/execute", {}, b'{"input": "' + b"x" * 20_000_000 + b'"}', 413, id="a body of 20 MB"),
    ],
)
def test_a_request_at_fault_is_a_problem(
    world: World, path: str, headers: dict[str, str], body: bytes, status: int
) -> None:
    url = f"{world.gateway.url}/api/v1/{path}"
    request = urllib.request.Request(url, body, {"Content-Type": "application/json", **headers})
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request, timeout=PATIENCE_S)
    problem = json.load(caught.value)
    assert (caught.value.code, bool(problem["code"])) == (status, True)
