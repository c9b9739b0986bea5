"""The direct lane: whichever way a request takes, its agent and its client see the same."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import pytest
from access_fakes import NOW, FakeReviews
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rest_server import (
    DEADLINE_S,
    AgentHandler,
    Rest,
    echo,
    eventually,
    fails_with,
    hangs,
    make_policy,
    raw_exchange,
    serving,
)

from switchboard_gateway.access.guard import Guard, GuardRules
from switchboard_gateway.access.rights import INVOKE, Right
from switchboard_gateway.access.security import Security
from switchboard_gateway.rest import RestLimits, connection
from switchboard_gateway.rest.direct import Answered, DirectCall, Lane, Plain
from switchboard_routing.policy import Capability
from switchboard_wire.calls import IncomingCall, Payload
from switchboard_wire.errors import ERROR_TABLE, ErrorValue, name_of
from switchboard_wire.v1 import frames_pb2 as pb

EXECUTE = "/api/v1/agents/echo/execute"
GOOD = b'{"input": "x"}'
JSON = "application/json"
ORDINARY = replace(RestLimits(), direct_bytes=0)


@dataclass
class Taken:
    """How many requests went down the lane."""

    count: int = 0


@pytest.fixture(autouse=True)
def taken(monkeypatch: pytest.MonkeyPatch) -> Taken:
    found, serve = Taken(), Lane.serve

    def counted(lane: Lane, plain: Plain, body: bytes, answered: Answered) -> DirectCall | None:
        found.count += 1
        return serve(lane, plain, body, answered)

    monkeypatch.setattr(Lane, "serve", counted)
    return found


def request(
    path: str = EXECUTE, body: bytes = GOOD, *lines: str, kind: str | None = JSON, method: str = "POST"
) -> bytes:
    """A request with its length. lines: further headers."""
    head = [f"{method} {path} HTTP/1.1", "Host: x", f"Content-Length: {len(body)}", *lines]
    head += [f"Content-Type: {kind}"] if kind is not None else []
    return "\r\n".join([*head, "", ""]).encode("utf-8", "surrogateescape") + body


async def read_answer(reader: asyncio.StreamReader) -> bytes:
    """One answer that has its length, without what differs by chance; empty at the end of the connection."""
    async with asyncio.timeout(DEADLINE_S):
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            return b""
        length = re.search(rb"Content-Length: (\d+)", head)
        assert length is not None, head
        body = await reader.readexactly(int(length[1]))
    return plainly(head + body)


def plainly(answer: bytes) -> bytes:
    return re.sub(rb"(?<=\r\nDate: )[^\r]+|(?<=\"id\":\")[0-9a-f]{32}|(?<=-Message-Id: )[0-9a-f]{32}", b"-", answer)


async def connect(rest: Rest) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection with nothing under way; a new one's first request may be there before aiohttp awaits it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", rest.port)
    writer.write(request("/health", b"", method="GET"))
    assert b'"ok"' in await read_answer(reader)
    return reader, writer


async def answers_on_one_connection(rest: Rest, *sent: bytes) -> list[bytes]:
    """Of each request, sent when the one before it was answered."""
    reader, writer = await connect(rest)
    found: list[bytes] = []
    try:
        for each in sent:
            writer.write(each)
            found.append(await read_answer(reader))
    finally:
        writer.close()
    return found


@asynccontextmanager
async def both(limits: RestLimits | None = None) -> AsyncIterator[tuple[Rest, Rest]]:
    """A server with the lane, and one without."""
    limits = limits or RestLimits()
    async with serving(limits) as direct, serving(replace(limits, direct_bytes=0)) as ordinary:
        yield direct, ordinary


async def pieces(call: IncomingCall) -> None:
    for word in ("one ", "two ", "three"):
        await call.send(word.encode(), "text/plain")
    await call.close(Payload(), processing_us=2500)


async def pours(call: IncomingCall) -> None:
    """A megabyte, which takes credit."""
    for _ in range(16):
        await call.send(b"x" * 65536, "text/plain")
    await call.close(Payload(), processing_us=2500)


async def tags(call: IncomingCall) -> None:
    await call.close(Payload(b'{"a": 1.10}', JSON), headers={"b": "ü\n", "a": "1"})


async def breaks_off(call: IncomingCall) -> None:
    await call.send(b"half", "text/plain")
    call.fail(ErrorValue(pb.PROCESSING_ERROR, "it broke", delivered=pb.DELIVERED_YES))


HANDLERS: dict[str, AgentHandler] = {
    "echo": echo,
    "pieces": pieces,
    "pours": pours,
    "tags": tags,
    "breaks": breaks_off,
}
for code in ERROR_TABLE:
    if code != pb.NODE_UNAVAILABLE:  # it would be tried again
        failing = ErrorValue(code, "b\u00e4d", 1500, pb.DELIVERED_YES, {"a": "b"})
        HANDLERS[f"e-{code}"] = fails_with(failing)


def host_all(rest: Rest) -> None:
    for name, handler in HANDLERS.items():
        capabilities = (Capability("repeat"),) if name == "echo" else ()
        rest.host(make_policy(name, capabilities=capabilities), handler)
    rest.host(make_policy("small", max_payload_bytes=10), echo)
    rest.host(make_policy("offline"), None)


def of(agent: str) -> str:
    return f"/api/v1/agents/{agent}/execute"


# Requests that the lane takes
PLAIN = {
    "text": request(),
    "a number": request(body=b'{"input": 1.10}'),
    "no text": request(body=b'{"input": ""}'),
    "null": request(body=b'{"input": null}'),
    "with a charset": request(kind="application/json; charset=utf-8"),
    "accepted": request(EXECUTE, GOOD, "Accept: */*"),
    "metadata": request(body=b'{"input": "x", "metadata": {"language": "en"}, "timeoutMs": 60000}'),
    "in a namespace": request("/api/v1/namespaces/default" + EXECUTE.removeprefix("/api/v1")),
    "a capability": request("/api/v1/capabilities/repeat/execute?version=%3E%3D0"),
    "a key": request(EXECUTE + "?key=doc%2F1&method=&key=2"),
    "a key that is no text": request(EXECUTE + "?key=%ff"),
    "all instances": request(EXECUTE + "?instances=all"),
    "headers": request(
        EXECUTE,
        GOOD,
        "Idempotency-Key: order-1",
        "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "tracestate: a=b",
        "Switchboard-Strategy: Random",
        "Switchboard-Timeout-Ms: 60000",
    ),
    "a strategy that is none": request(EXECUTE, GOOD, "Switchboard-Strategy: Fastest"),
    "no JSON": request(body=b"{"),
    "no UTF-8": request(body=b'{"input": "\xff"}'),
    "a wrong member": request(body=b'{"imput": 1}'),
    "half a surrogate pair": request(body=b'{"input": "\\ud800"}'),
    "nested deeply": request(body=b'{"input": ' + b"[" * 30_000 + b"}"),
    "too much metadata": request(body=b'{"input": "x", "metadata": {"a": "' + b"x" * 20_000 + b'"}}'),
    "a payload over the Agent's limit": request(of("small"), b'{"input": "12345678901"}'),
    "too long a key": request(EXECUTE + "?key=" + "k" * 300),
    "nobody there in time": request(of("offline"), b'{"input": "x", "timeoutMs": 1}'),
    "an answer in pieces": request(of("pieces")),
    "an answer that takes credit": request(of("pours")),
    "metadata of the answer": request(of("tags")),
    "an answer that breaks off": request(of("breaks")),
    **{f"{name_of(int(name[2:]))} of the handler": request(of(name)) for name in HANDLERS if name.startswith("e-")},
}
# Requests that it leaves alone
OTHERS = {
    "raw": request(kind="text/plain"),
    "of no type": request(kind=None),
    "of another case": request(kind="Application/JSON"),
    "curl's default": request(kind="application/x-www-form-urlencoded"),
    "no body": request(body=b""),
    "a large body": request(body=b'{"input": "' + b"x" * 70_000 + b'"}'),
    "over the limit around a payload": request(of("small"), b'{"input": "x"' + b" " * 65_600 + b"}"),
    "no such agent": request(of("nobody")),
    "an agent type that is none": request(of("Echo")),
    "no such capability": request("/api/v1/capabilities/swim/execute"),
    "no such namespace": request("/api/v1/namespaces/x/agents/echo/execute"),
    "a path in escapes": request("/api/v1/agents/%65cho/execute"),
    "a path that is no text": request("/api/v1/agents/%ff/execute"),
    "a path with dots": request("/api/v1/agents/../agents/echo/execute"),
    "a fragment": request(EXECUTE + "#x"),
    "a parameter that is not known": request(EXECUTE + "?kye=1"),
    "no deadline": request(EXECUTE, GOOD, "Switchboard-Timeout-Ms: 0"),
    "a key that is none": request(EXECUTE, GOOD, "Idempotency-Key: \u00e4"),
    "expects a word": request(EXECUTE, GOOD, "Expect: something else"),
    "a topic": request("/api/v1/topics/news/publish"),
    "another method": request(method="GET"),
    "no path of ours": request("/api/v2/agents/echo/execute"),
}


@pytest.mark.parametrize(("sent", "is_plain"), [
    *(pytest.param(sent, True, id=name) for name, sent in PLAIN.items()),
    *(pytest.param(sent, False, id=name) for name, sent in OTHERS.items()),
])  # fmt: skip
async def test_both_ways_answer_alike(sent: bytes, is_plain: bool, taken: Taken) -> None:
    async with both() as (direct, ordinary):
        answers = []
        for rest in (direct, ordinary):
            host_all(rest)
            before = taken.count
            answers.append(await answers_on_one_connection(rest, sent, request()))
            assert taken.count - before == (0 if rest is ordinary else 1 + is_plain)
        assert answers[0] == answers[1]
        seen = [strip(rest.fake.seen) for rest in (direct, ordinary)]
        assert seen[0] == seen[1]
        assert [rest.core.active for rest in (direct, ordinary)] == [0, 0]
        calls = [dict(rest.core.metrics.calls.values) for rest in (direct, ordinary)]
        assert calls[0] == calls[1]


@pytest.mark.parametrize(
    "name", ["text", "metadata", "no JSON", "an answer in pieces", "raw", "a large body", "no such agent"]
)
async def test_a_body_may_come_after_its_head(name: str, taken: Taken) -> None:
    head, _, body = (PLAIN | OTHERS)[name].partition(b"\r\n\r\n")
    async with both() as (direct, ordinary):
        answers = []
        for rest in (direct, ordinary):
            host_all(rest)
            reader, writer = await connect(rest)
            for piece in (head + b"\r\n\r\n", body[:3], body[3:]):
                writer.write(piece)
                await asyncio.sleep(0.001)
            answers.append(await read_answer(reader))
            writer.close()
        assert answers[0] == answers[1]
        assert taken.count <= (name in PLAIN)  # a machine that is busy elsewhere for a moment leaves it to aiohttp


async def test_a_body_that_comes_at_once_after_its_head_takes_the_lane(
    rest: Rest, taken: Taken, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "BODY_WAIT_S", DEADLINE_S)
    rest.host(make_policy(), echo)
    reader, writer = await connect(rest)
    head, _, body = request().partition(b"\r\n\r\n")
    for piece in (head + b"\r\n\r\n", body[:3], body[3:]):
        await asyncio.sleep(0.01)
        writer.write(piece)
    assert b'"output":"x"' in await read_answer(reader)
    assert taken.count == 1
    writer.write(head + b"\r\n\r\n")
    await asyncio.sleep(0.01)
    writer.write(body + request(body=b'{"input": "second"}'))  # one behind it: both are aiohttp's
    assert b'"output":"x"' in await read_answer(reader)
    assert b'"output":"second"' in await read_answer(reader)
    assert taken.count == 1
    writer.close()


@pytest.mark.parametrize("leaves", [True, False], ids=["leaves", "stays"])
async def test_a_body_that_does_not_come_is_given_up(leaves: bool, caplog: pytest.LogCaptureFixture) -> None:
    async with serving(replace(RestLimits(), body_idle_s=0.3)) as rest:
        rest.host(make_policy(), echo)
        reader, writer = await connect(rest)
        writer.write(request().partition(b"\r\n\r\n")[0] + b"\r\n\r\n{")
        if not leaves:
            assert b"no byte of the body came for 0.3 s" in await read_answer(reader)
        writer.close()
        (answer,) = await answers_on_one_connection(rest, request())
        assert b"200 OK" in answer
    assert caplog.text == ""


def strip(seen: list[pb.Open]) -> list[pb.Open]:
    """What agents saw, without what differs by chance."""
    for opened in seen:
        assert len(opened.message_id) == 32
        opened.ClearField("message_id")
    return seen


LINES = st.sampled_from(
    [
        *("Idempotency-Key", "traceparent", "tracestate", "Switchboard-Strategy", "Switchboard-Timeout-Ms", "Accept"),
        *("Switchboard-Metadata-x", "Content-Encoding", "Authorization", "X-Other"),
    ]
)
MEMBERS = st.dictionaries(
    st.sampled_from(["input", "metadata", "timeoutMs"]) | st.text(max_size=5),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    ),
    max_size=3,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    path=st.sampled_from([EXECUTE, of("pieces"), of("nobody"), "/api/v1/capabilities/repeat/execute"])
    | st.text(max_size=8).map(lambda text: f"{EXECUTE}?key={text}")
    | st.text(max_size=8).map(of),
    line=st.tuples(LINES, st.binary(max_size=30)),
    body=st.binary(max_size=200) | MEMBERS.map(lambda value: json.dumps(value).encode()),
)
def test_no_request_is_answered_differently(path: str, line: tuple[str, bytes], body: bytes) -> None:
    async def run() -> None:
        head = f"{line[0]}: ".encode() + in_one_line(line[1])
        start = in_one_line(path.encode("utf-8", "surrogatepass"))
        sent = b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n%s\r\nContent-Length: %d\r\n\r\n" % (
            start, head, len(body)
        )  # fmt: skip
        async with both() as (direct, ordinary):
            answers = []
            for rest in (direct, ordinary):
                host_all(rest)
                answers.append(await answers_on_one_connection(rest, sent + body, request()))
            assert answers[0] == answers[1]
            assert strip(direct.fake.seen) == strip(ordinary.fake.seen)

    asyncio.run(run())


def in_one_line(raw: bytes) -> bytes:
    return raw.translate(None, b"\r\n")


async def test_requests_behind_one_that_is_under_way_are_answered_in_their_turn(rest: Rest, taken: Taken) -> None:
    may_end = asyncio.Event()

    async def waits(call: IncomingCall) -> None:
        await may_end.wait()
        await echo(call)

    rest.host(make_policy(), waits)
    reader, writer = await connect(rest)
    writer.write(request(body=b'{"input": "first"}'))
    await eventually(lambda: len(rest.fake.seen) == 1)
    assert taken.count == 1
    writer.write(request(body=b'{"input": "second"}'))
    writer.write(request(body=b'{"input": "third"}') + request("/health", b"", method="GET"))
    may_end.set()
    outputs = [json.loads((await read_answer(reader)).partition(b"\r\n\r\n")[2])["output"] for _ in range(3)]
    assert outputs == ["first", "second", "third"]
    assert b'"ok"' in await read_answer(reader)
    writer.write(request())
    await read_answer(reader)
    assert taken.count == 2  # all is over, so the lane is free
    writer.close()


async def test_a_call_may_take_longer_than_a_connection_may_idle(taken: Taken) -> None:
    async def is_slow(call: IncomingCall) -> None:
        await asyncio.sleep(0.5)
        await echo(call)

    async with serving(replace(RestLimits(), keepalive_s=0.2, first_request_s=0.2)) as rest:
        rest.host(make_policy(), is_slow)
        reader, writer = await connect(rest)
        writer.write(request())
        assert b"200 OK" in await read_answer(reader)
        async with asyncio.timeout(DEADLINE_S):
            assert await reader.read() == b""  # idle from then on, and closed
        assert taken.count == 1
        writer.close()


async def test_a_client_that_hangs_up_cancels_its_call_and_gives_its_bytes_back(taken: Taken) -> None:
    body = json.dumps({"input": "x" * 40_000}).encode()
    async with serving(replace(RestLimits(), buffered_bytes=50_000)) as rest:
        rest.host(make_policy(), hangs)
        for round_ in (1, 2, 3):
            _, writer = await connect(rest)
            writer.write(request(body=body))
            await eventually(lambda count=round_: len(rest.fake.seen) == count)  # type: ignore[misc]
            writer.close()
            await eventually(lambda count=round_: rest.fake.cancelled == count)  # type: ignore[misc]
        await eventually(lambda: rest.core.active == 0)


@pytest.mark.parametrize("limits", [RestLimits(), ORDINARY], ids=["directly", "ordinarily"])
async def test_an_answer_that_is_too_large_is_refused_and_its_call_cancelled(limits: RestLimits) -> None:
    async with serving(replace(limits, answer_bytes=100_000)) as rest:
        rest.host(make_policy(), pours)
        found = await answers_on_one_connection(rest, request(), request())
        for answer in found:
            assert answer.startswith(b"HTTP/1.1 413 ")
            assert b'"delivered": "YES"' in answer
        await eventually(lambda: rest.fake.cancelled == 2 and rest.core.active == 0)


async def test_a_gateway_that_leaves_ends_the_connection_with_the_answer(rest: Rest, taken: Taken) -> None:
    async def waits(call: IncomingCall) -> None:
        await eventually(lambda: rest.core.leaving)
        await echo(call)

    rest.host(make_policy(), waits)
    reader, writer = await connect(rest)
    writer.write(request())
    await eventually(lambda: len(rest.fake.seen) == 1)
    rest.core.say_goodbye("it stops")
    async with asyncio.timeout(DEADLINE_S):
        found = await reader.read()
    assert b"200 OK" in found
    assert b"Connection: close" in found
    assert taken.count == 1
    writer.close()


async def test_a_server_that_stops_waits_for_a_call_that_is_under_way(taken: Taken) -> None:
    may_end = asyncio.Event()

    async def waits(call: IncomingCall) -> None:
        await may_end.wait()
        await echo(call)

    async with serving() as rest:
        rest.host(make_policy(), waits)
        reader, writer = await connect(rest)
        writer.write(request())
        await eventually(lambda: len(rest.fake.seen) == 1)
        asyncio.get_running_loop().call_later(0.2, may_end.set)
    async with asyncio.timeout(DEADLINE_S):
        found = await reader.read()
    assert b'"output":"x"' in found
    assert taken.count == 1
    writer.close()


async def test_a_server_that_stops_cancels_a_call_that_takes_too_long(taken: Taken) -> None:
    async with serving(replace(RestLimits(), shutdown_s=0.2)) as rest:
        rest.host(make_policy(), hangs)
        reader, writer = await connect(rest)
        writer.write(request())
        await eventually(lambda: len(rest.fake.seen) == 1)
    await eventually(lambda: rest.fake.cancelled == 1)
    async with asyncio.timeout(DEADLINE_S):
        assert await reader.read() == b""
    assert taken.count == 1
    writer.close()


async def test_a_client_that_does_not_read_its_answer_is_cut_off(taken: Taken) -> None:
    async def floods(call: IncomingCall) -> None:
        await call.close(Payload(b"x" * (16 << 20), "text/plain"))  # more than sockets hold

    async with serving(replace(RestLimits(), write_stall_s=0.3)) as rest:
        rest.host(make_policy(), floods)
        _, writer = await connect(rest)
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(request())
        await eventually(lambda: len(rest.fake.seen) == 1)
        async with asyncio.timeout(DEADLINE_S):
            while not writer.transport.is_closing():  # the connection's end is seen by writing alone
                writer.write(b" ")
                await asyncio.sleep(0.05)
        assert (taken.count, rest.core.active) == (1, 0)
        writer.close()


@pytest.mark.interpreted
async def test_a_fault_of_the_gateway_is_a_problem_and_a_line_in_the_log(
    rest: Rest, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> bytes:
        raise KeyError("a secret")

    rest.host(make_policy(), echo)
    monkeypatch.setattr("switchboard_gateway.rest.direct.to_body", broken)
    (found,) = await answers_on_one_connection(rest, request())
    assert found.startswith(b"HTTP/1.1 500 ")
    assert b"secret" not in found
    assert "request failed" in caplog.text


async def test_only_a_client_whose_right_is_known_goes_down_the_lane(taken: Taken) -> None:
    reviews = FakeReviews()
    rules = GuardRules(cache_s=2.0)
    guard = Guard(reviews, rules, asyncio.get_running_loop().time, lambda: NOW)
    token = reviews.grant("bot", Right(INVOKE, "default", "echo"))
    mine = f"Authorization: Bearer {token}"
    async with serving(security=Security(guard)) as rest:
        rest.host(make_policy(), echo)
        rest.host(make_policy("secret"), echo)
        reader, writer = await connect(rest)

        async def status(path: str, *lines: str) -> bytes:
            writer.write(request(path, GOOD, *lines))
            return (await read_answer(reader)).split(b" ", 2)[1]

        assert await status(EXECUTE) == b"401"
        assert await status(EXECUTE, "Authorization: Bearer \udcff") == b"401"
        assert (await status(EXECUTE, mine), taken.count) == (b"200", 0)
        async with asyncio.timeout(DEADLINE_S):
            while not taken.count:  # while the API server's last answer counts
                assert await status(EXECUTE, mine) == b"200"
        assert {opened.principal for opened in rest.fake.seen} == {"user:bot"}
        assert await status(of("secret"), mine) == b"403"
        assert await status(EXECUTE) == b"401"
        reviews.rights["bot"].clear()
        async with asyncio.timeout(DEADLINE_S):
            while await status(EXECUTE, mine) != b"403":
                await asyncio.sleep(0.05)
        before = taken.count
        assert await status(EXECUTE, mine) == b"403"
        assert taken.count == before
        writer.close()


async def test_what_is_sent_to_a_topic_goes_the_ordinary_way(rest: Rest, taken: Taken) -> None:
    found = await raw_exchange(rest.port, request("/api/v1/topics/news/publish", GOOD, "Connection: close"))
    assert b'"results":[]' in found
    assert taken.count == 0
