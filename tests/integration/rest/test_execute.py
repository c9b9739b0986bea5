"""An execution reaches its agent as it was meant, and its answer comes back."""

import asyncio
import io
import json

import pytest
from rest_server import Rest, echo, eventually, fails_with, hangs, make_policy

from switchboard_routing.policy import Capability
from switchboard_wire.calls import IncomingCall, Payload
from switchboard_wire.errors import ERROR_TABLE, ErrorValue, name_of
from switchboard_wire.v1 import frames_pb2 as pb

EXECUTE = "/api/v1/agents/echo/execute"


@pytest.mark.parametrize(
    "value",
    ["hello\nwörld", "", 0, 1.5, None, True, [], {"a": [1, {"b": "c"}]}, "x" * 800_000],
    ids=lambda v: repr(v)[:20],
)
async def test_json_goes_in_and_comes_out(rest: Rest, value: object) -> None:
    rest.host(make_policy(), echo)
    async with rest.client.post(rest.url + EXECUTE, json={"input": value}) as response:
        assert (response.status, response.content_type) == (200, "application/json")
        found = await response.json()
    message_id = found.pop("id")
    assert found == {"output": value, "agent": "echo", "instance": "writers-1", "processingMs": 1.5}
    assert rest.fake.seen[0].message_id == message_id


@pytest.mark.parametrize("size", [0, 1, 120 * 1024, 120 * 1024 + 1, 4 * 1024 * 1024])
@pytest.mark.parametrize("chunked", [False, True], ids=["with its length", "chunked"])
async def test_any_other_content_type_passes_as_it_is(rest: Rest, size: int, chunked: bool) -> None:
    rest.host(make_policy(), echo)
    data = bytes(index % 251 for index in range(size))

    async def pieces():  # type: ignore[no-untyped-def]
        for start in range(0, size, 50_000):
            yield data[start : start + 50_000]

    headers = {"Content-Type": "image/png"}
    async with rest.client.post(
        rest.url + EXECUTE, data=pieces() if chunked else io.BytesIO(data), headers=headers
    ) as response:
        assert (response.status, response.content_type) == (200, "image/png")
        assert await response.read() == data
        assert response.headers["Switchboard-Agent"] == "echo"
        assert response.headers["Switchboard-Message-Id"] == rest.fake.seen[0].message_id
        if size <= 120 * 1024:
            assert response.headers["Switchboard-Instance"] == "writers-1"
            assert response.headers["Switchboard-Processing-Ms"] == "1.5"


async def test_a_body_without_a_content_type_is_bytes(rest: Rest) -> None:
    rest.host(make_policy(), echo)
    async with rest.client.post(rest.url + EXECUTE, data=b"\x00", skip_auto_headers=["Content-Type"]) as response:
        assert (response.content_type, await response.read()) == ("application/octet-stream", b"\x00")


async def test_a_json_answer_to_json_keeps_its_digits(rest: Rest) -> None:
    rest.host(make_policy(), echo)
    headers = {"Content-Type": "application/json"}
    async with rest.client.post(rest.url + EXECUTE, data=b'{"input": [1.10, 1e999]}', headers=headers) as response:
        assert b'"output":[1.10, 1e999],' in await response.read()


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/api/v1/agents/echo/execute", pb.Target(type="echo")),
        ("/api/v1/agents/echo/execute?key=doc%2F1", pb.Target(type="echo", key="doc/1")),
        ("/api/v1/namespaces/default/agents/echo/execute", pb.Target(namespace="default", type="echo")),
        ("/api/v1/capabilities/repeat/execute?key=1", pb.Target(capability="repeat", key="1")),
        ("/api/v1/namespaces/default/capabilities/repeat/execute", pb.Target(namespace="default", capability="repeat")),
    ],
)
async def test_a_path_names_the_target(rest: Rest, path: str, expected: pb.Target) -> None:
    rest.host(make_policy(capabilities=(Capability("repeat"),)), echo)
    async with rest.client.post(rest.url + path, json={"input": "x"}) as response:
        assert response.status == 200
    assert rest.fake.seen[0].target == expected


async def test_headers_and_metadata_reach_the_agent(rest: Rest) -> None:
    rest.host(make_policy(), echo)
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    headers = {"Idempotency-Key": "order-1", "traceparent": trace, "Switchboard-Strategy": "Random"}
    body = {"input": "x", "metadata": {"language": "en"}, "timeoutMs": 60_000}
    async with rest.client.post(rest.url + EXECUTE, json=body, headers=headers) as response:
        assert response.status == 200
    seen = rest.fake.seen[0]
    assert (seen.idempotency_key, seen.idempotent, seen.traceparent) == ("order-1", True, trace)
    assert (seen.strategy, seen.deadline_ms, dict(seen.headers)) == ("Random", 60_000, {"language": "en"})


async def test_a_raw_request_has_its_metadata_in_headers(rest: Rest) -> None:
    rest.host(make_policy(), echo)
    headers = {"Switchboard-Metadata-Language": "en", "Switchboard-Timeout-Ms": "60000", "Content-Type": "text/plain"}
    async with rest.client.post(rest.url + EXECUTE, data="x", headers=headers) as response:
        assert response.status == 200
    seen = rest.fake.seen[0]
    assert (dict(seen.headers), seen.deadline_ms) == ({"language": "en"}, 60_000)


@pytest.mark.parametrize("code", [code for code in ERROR_TABLE if code != pb.NODE_UNAVAILABLE], ids=name_of)
async def test_an_error_has_its_status_and_its_code(rest: Rest, code: int) -> None:
    rest.host(make_policy(), fails_with(ErrorValue(code, "because", 1500, pb.DELIVERED_YES, {"a": "b"})))
    async with rest.client.post(rest.url + EXECUTE, json={"input": "x"}) as response:
        assert (response.status, response.content_type) == (ERROR_TABLE[code].http, "application/problem+json")
        assert response.headers["Retry-After"] == "2"
        found = await response.json()
    assert (found["code"], found["detail"], found["delivered"]) == (name_of(code), "because", "YES")
    assert (found["retryAfterMs"], found["details"]) == (1500, {"a": "b"})


async def test_an_agent_that_is_offline_is_waited_for_within_the_deadline(rest: Rest) -> None:
    rest.host(make_policy(), None)
    async with rest.client.post(rest.url + EXECUTE, json={"input": "x", "timeoutMs": 50}) as response:
        assert (response.status, (await response.json())["code"]) == (503, "AGENT_OFFLINE")
        assert response.headers["Retry-After"] == "1"


async def test_an_agent_that_does_not_answer_ends_in_a_timeout(rest: Rest) -> None:
    rest.host(make_policy(), hangs)
    headers = {"Switchboard-Timeout-Ms": "50", "Content-Type": "text/plain"}
    async with rest.client.post(rest.url + EXECUTE, data="x", headers=headers) as response:
        assert (response.status, (await response.json())["code"]) == (504, "DEADLINE_EXCEEDED")
    await eventually(lambda: rest.fake.cancelled == 1)


@pytest.mark.parametrize("content_type", ["application/json", "text/plain"])
async def test_a_client_that_hangs_up_cancels_the_handler(rest: Rest, content_type: str) -> None:
    rest.host(make_policy(), hangs)
    _, writer = await asyncio.open_connection("127.0.0.1", rest.port)
    body = json.dumps({"input": "x"}).encode()
    head = f"POST {EXECUTE} HTTP/1.1\r\nHost: x\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    await eventually(lambda: len(rest.fake.seen) == 1)
    assert rest.fake.cancelled == 0
    writer.close()
    await eventually(lambda: rest.fake.cancelled == 1 and rest.core.active == 0)


async def test_a_large_body_waits_for_the_agent_to_read_it(rest: Rest) -> None:
    go_on = asyncio.Event()
    sent = 0

    async def reads_late(call: IncomingCall) -> None:
        await go_on.wait()
        await call.close(Payload(str(len(await call.body(1 << 26))).encode(), "text/plain"))

    async def pieces():  # type: ignore[no-untyped-def]
        nonlocal sent
        for _ in range(1024):
            yield b"x" * 65536
            sent += 65536

    rest.host(make_policy(max_payload_bytes=1 << 26), reads_late)
    headers = {"Content-Type": "video/mp4"}
    request = asyncio.ensure_future(rest.client.post(rest.url + EXECUTE, data=pieces(), headers=headers))
    await eventually(lambda: len(rest.fake.seen) == 1 and sent > 0)
    before = -1
    while before != sent:  # until the sockets' own buffers are full as well
        before = sent
        await asyncio.sleep(0.2)
    assert sent < 1 << 25
    go_on.set()
    async with await request as response:
        assert await response.text() == str(1 << 26)


async def test_an_agent_may_answer_before_the_body_is_complete(rest: Rest) -> None:
    async def refuses(call: IncomingCall) -> None:
        call.fail(ErrorValue(pb.VALIDATION_FAILED, "not like this"))

    rest.host(make_policy(), refuses)
    reader, writer = await asyncio.open_connection("127.0.0.1", rest.port)
    writer.write(f"POST {EXECUTE} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\nbegin".encode())
    async with asyncio.timeout(60):
        head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    writer.close()
