"""Clients that mean harm, or are broken: each gets an answer or is cut off, and everyone else is served."""

import asyncio
import gc
import gzip
import json
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rest_server import DEADLINE_S, Rest, echo, eventually, hangs, make_policy, raw_exchange, serving

from switchboard_gateway.rest import RestLimits

EXECUTE = "/api/v1/agents/echo/execute"
HEAD = f"POST {EXECUTE} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


async def assert_served(rest: Rest) -> None:
    async with rest.client.post(rest.url + EXECUTE, json={"input": "still here"}) as response:
        assert (await response.json())["output"] == "still here"


@pytest.mark.parametrize(
    "begin",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"POST /api", id="half a request line"),
        pytest.param(HEAD.encode(), id="headers without their end"),
    ],
)
async def test_a_client_that_does_not_finish_its_headers_is_closed(begin: bytes) -> None:
    async with serving(replace(RestLimits(), first_request_s=1.0)) as rest:
        rest.host(make_policy(), echo)
        assert await raw_exchange(rest.port, begin) == b""
        await assert_served(rest)


async def test_a_slow_drip_of_headers_does_not_buy_time() -> None:
    async with serving(replace(RestLimits(), first_request_s=0.5)) as rest:
        reader, writer = await asyncio.open_connection("127.0.0.1", rest.port)
        writer.write(HEAD.encode())
        closed = asyncio.ensure_future(reader.read())
        dripped = 0
        while not closed.done():
            writer.write(b"X-%d: y\r\n" % dripped)
            dripped += 1
            await asyncio.wait([closed], timeout=0.05)
            assert dripped < DEADLINE_S / 0.05
        assert closed.exception() is not None or closed.result() == b""
        writer.close()


async def test_headers_of_a_later_request_must_come_as_well() -> None:
    async with serving(replace(RestLimits(), keepalive_s=0.3)) as rest:
        rest.host(make_policy(), echo)
        body = b'{"input": "x"}'
        request = f"{HEAD}Content-Length: {len(body)}\r\n\r\n".encode() + body
        found = await raw_exchange(rest.port, request + HEAD.encode())
        assert found.count(b"HTTP/1.1 200 OK") == 1


async def test_an_idle_connection_is_closed() -> None:
    async with serving(replace(RestLimits(), keepalive_s=0.2)) as rest:
        found = await raw_exchange(rest.port, b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        assert found.startswith(b"HTTP/1.1 200 OK")


@pytest.mark.parametrize("content_type", ["application/json", "text/plain"])
async def test_a_body_that_stops_coming_is_given_up(content_type: str) -> None:
    async with serving(replace(RestLimits(), body_idle_s=0.2)) as rest:
        rest.host(make_policy(), echo)
        head = HEAD.replace("application/json", content_type)
        found = await raw_exchange(rest.port, f"{head}Content-Length: 100\r\n\r\n{{".encode())
        assert found.startswith(b"HTTP/1.1 400 ")
        assert b"no byte of the body came for 0.2 s" in found
        await eventually(lambda: rest.core.active == 0)
        await assert_served(rest)


@pytest.mark.parametrize("content_type", ["application/json", "text/plain"])
async def test_a_dripping_body_is_given_up(content_type: str) -> None:
    async with serving(replace(RestLimits(), body_total_s=0.4)) as rest:
        rest.host(make_policy(), echo)
        reader, writer = await asyncio.open_connection("127.0.0.1", rest.port)
        head = HEAD.replace("application/json", content_type)
        writer.write(f"{head}Content-Length: 100000\r\n\r\n{{".encode())
        answered = asyncio.ensure_future(reader.readuntil(b"\r\n\r\n"))
        dripped = 0
        while not answered.done():
            writer.write(b" ")
            dripped += 1
            await asyncio.wait([answered], timeout=0.05)
            assert dripped < DEADLINE_S / 0.05
        assert answered.result().startswith(b"HTTP/1.1 400 ")
        writer.close()


async def test_connections_beyond_the_limit_are_told_so() -> None:
    async with serving(replace(RestLimits(), connections=3)) as rest:
        rest.host(make_policy(), hangs)
        request = f"{HEAD}Content-Length: 14\r\n\r\n".encode() + b'{"input": "x"}'
        busy = [await asyncio.open_connection("127.0.0.1", rest.port) for _ in range(3)]
        for _, writer in busy:
            writer.write(request)
        await eventually(lambda: len(rest.fake.seen) == 3)
        found = await raw_exchange(rest.port, b"")
        assert found.startswith(b"HTTP/1.1 503 ")
        assert b"Retry-After: 1" in found
        for _, writer in busy:
            writer.close()
        await eventually(lambda: rest.fake.cancelled == 3)
        assert b"200 OK" in await raw_exchange(rest.port, b"GET /health HTTP/1.0\r\n\r\n")


async def test_idle_connections_make_room_for_those_that_ask() -> None:
    async with serving(replace(RestLimits(), connections=3)) as rest:
        silent, early, late = [await asyncio.open_connection("127.0.0.1", rest.port) for _ in range(3)]
        for reader, writer in (late, early):
            writer.write(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
            async with asyncio.timeout(DEADLINE_S):
                await reader.readuntil(b'"ok"}')
        newcomers = []
        for longest, _ in (silent, late):  # whoever asked last stays longest
            newcomers.append(await asyncio.open_connection("127.0.0.1", rest.port))
            async with asyncio.timeout(DEADLINE_S):
                assert await longest.read() == b""
        early[1].write(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        async with asyncio.timeout(DEADLINE_S):
            assert b"200 OK" in await early[0].readuntil(b'"ok"}')
        for _, writer in (silent, early, late, *newcomers):
            writer.close()


async def test_bodies_in_memory_are_bounded_over_all_clients() -> None:
    async with serving(replace(RestLimits(), buffered_bytes=150_000)) as rest:
        rest.host(make_policy(), echo)
        body = json.dumps({"input": "x" * 99_000}).encode()
        _, slow = await asyncio.open_connection("127.0.0.1", rest.port)
        slow.write(f"{HEAD}Content-Length: {len(body)}\r\n\r\n".encode() + body[:-1])
        await asyncio.sleep(0)
        async with asyncio.timeout(DEADLINE_S):
            while True:
                async with rest.client.post(rest.url + EXECUTE, json={"input": "x" * 60_000}) as response:
                    if response.status == 429:
                        break
        slow.close()
        async with asyncio.timeout(DEADLINE_S):
            while True:
                async with rest.client.post(rest.url + EXECUTE, json={"input": "x" * 60_000}) as response:
                    if response.status == 200:
                        break


async def test_a_compressed_bomb_is_refused_as_what_it_unpacks_to(rest: Rest) -> None:
    rest.host(make_policy(), echo)
    bomb = gzip.compress(b" " * 200_000_000)
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    async with rest.client.post(rest.url + EXECUTE, data=bomb, headers=headers) as response:
        assert (response.status, (await response.json())["code"]) == (413, "PAYLOAD_TOO_LARGE")


async def test_a_compressed_body_is_unpacked(rest: Rest) -> None:
    rest.host(make_policy(), echo)
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    async with rest.client.post(rest.url + EXECUTE, data=gzip.compress(b'{"input": "x"}'), headers=headers) as response:
        assert (await response.json())["output"] == "x"


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_a_body_that_is_not_encoded_as_it_says(rest: Rest, encoding: str) -> None:
    rest.host(make_policy(), echo)
    found = await raw_exchange(
        rest.port,
        f"{HEAD}Content-Encoding: {encoding}\r\nContent-Length: 14\r\nConnection: close\r\n\r\n".encode()
        + b'{"input": "x"}',
    )
    assert found.startswith(b"HTTP/1.1 400 ")
    await assert_served(rest)


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 TLS\r\n\r\n", 400, id="TLS"),
        pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, id="HTTP/2"),
        pytest.param(b"garbage\r\n\r\n", 400, id="garbage"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"x" * 9000 + b"\r\n\r\n", 400, id="a header too long"),
        pytest.param(b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 400, id="a path too long"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 100 + b"\r\n", 400, id="too many headers"),
        pytest.param(HEAD.encode() + b"Content-Length: -1\r\n\r\n", 400, id="a negative length"),
        pytest.param(HEAD.encode() + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n", 400, id="two lengths"),
        pytest.param(
            HEAD.encode() + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n", 400, id="chunked with a length"
        ),
        pytest.param(HEAD.encode() + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400, id="a chunk without a size"),
    ],
)
async def test_what_is_no_http_is_answered_with_a_problem(rest: Rest, request_: bytes, status: int) -> None:
    rest.host(make_policy(), echo)
    found = await raw_exchange(rest.port, request_)
    assert found.startswith((f"HTTP/1.1 {status} ".encode(), f"HTTP/1.0 {status} ".encode()))
    assert b"application/problem+json" in found
    assert b"Traceback" not in found
    await assert_served(rest)


async def test_idle_connections_beyond_the_limit_do_not_keep_calls_out() -> None:
    async with serving(replace(RestLimits(), connections=100)) as rest:
        rest.host(make_policy(), echo)
        idle = [await asyncio.open_connection("127.0.0.1", rest.port) for _ in range(400)]
        await assert_served(rest)
        for _, writer in idle:
            writer.close()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    path=st.one_of(
        st.text().map(lambda text: f"/api/v1/agents/{text}/execute"),
        st.text().map(lambda text: f"{EXECUTE}?key={text}"),
        st.text().map(lambda text: f"/{text}"),
        st.sampled_from([EXECUTE, "/api/v1/agents", "/api/v1/capabilities/x/execute", "/api/v1/namespaces/%ff/agents"]),
    ),
    method=st.sampled_from(["GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD"]),
    content_type=st.one_of(
        st.sampled_from(["application/json", "text/plain", "multipart/form-data", "application/json; charset=x"]),
        st.binary(max_size=20).map(lambda raw: raw.decode("latin-1")),
    ),
    header=st.tuples(
        st.sampled_from(
            [
                "Idempotency-Key",
                "traceparent",
                "Switchboard-Strategy",
                "Switchboard-Timeout-Ms",
                "Accept",
                "Switchboard-Metadata-x",
            ]
        ),
        st.binary(max_size=30),
    ),
    body=st.one_of(
        st.binary(max_size=200),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(st.sampled_from(["input", "metadata", "timeoutMs"]) | st.text(), inner, max_size=3)
            ),
        ).map(lambda value: json.dumps(value).encode()),
    ),
)
def test_no_request_makes_the_gateway_fail(
    path: str, method: str, content_type: str, header: tuple[str, bytes], body: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async def run() -> None:
        async with serving() as rest:
            rest.host(make_policy(), echo)
            lines = [
                b"%s %s HTTP/1.1" % (method.encode(), in_one_line(path.encode("utf-8", "surrogatepass"))),
                b"Host: x\r\nConnection: close\r\nContent-Length: %d" % len(body),
                b"Content-Type: " + in_one_line(content_type.encode("latin-1")),
                b"%s: %s" % (header[0].encode(), in_one_line(header[1])),
            ]
            sent = b"\r\n".join(lines) + b"\r\n\r\n"
            found = await raw_exchange(rest.port, sent + body)
            assert int(found.split(b" ", 2)[1]) in (200, 400, 404, 405, 413)
            await assert_served(rest)

    gc.collect()
    caplog.clear()  # of what earlier tests left to be told
    with caplog.at_level("ERROR"):
        asyncio.run(run())
    assert caplog.text == ""  # nothing that the gateway did not expect


def in_one_line(raw: bytes) -> bytes:
    return raw.translate(None, b"\r\n")
