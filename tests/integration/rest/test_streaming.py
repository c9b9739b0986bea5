"""Answers that come in pieces, as events and as bytes."""

import asyncio
import json
from dataclasses import replace

import pytest
from aiohttp import ClientPayloadError
from rest_server import DEADLINE_S, Rest, echo, eventually, fails_with, make_policy, serving

from switchboard_gateway.rest import RestLimits
from switchboard_wire.calls import IncomingCall, Payload
from switchboard_wire.errors import ErrorValue
from switchboard_wire.v1 import frames_pb2 as pb

EXECUTE = "/api/v1/agents/echo/execute"
EVENTS = {"Accept": "text/event-stream"}


async def tells(call: IncomingCall) -> None:
    for piece in (b"one", b"two\nlines", "dréi".encode()):
        await call.send(piece, "text/plain")
    await call.close(Payload(), processing_us=2000)


async def breaks_off(call: IncomingCall) -> None:
    await call.send(b"one", "text/plain")
    call.fail(ErrorValue(pb.PROCESSING_ERROR, "then it broke", delivered=pb.DELIVERED_YES))


def events_of(text: str) -> list[tuple[str, str]]:
    found = []
    for block in text.split("\n\n")[:-1]:
        lines = [line for line in block.split("\n") if not line.startswith(":")]
        name = [line.removeprefix("event: ") for line in lines if line.startswith("event: ")]
        data = [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]
        if data:
            found.append((name[0] if name else "message", "\n".join(data)))
    return found


async def test_each_piece_is_an_event_and_the_last_says_done(rest: Rest) -> None:
    rest.host(make_policy(), tells)
    async with rest.client.post(rest.url + EXECUTE, json={"input": "x"}, headers=EVENTS) as response:
        assert (response.status, response.content_type) == (200, "text/event-stream")
        found = events_of(await response.text())
    assert found[:-1] == [("message", "one"), ("message", "two\nlines"), ("message", "dréi")]
    event, data = found[-1]
    assert event == "done"
    summary = json.loads(data)
    assert summary.pop("id") == rest.fake.seen[0].message_id
    assert summary == {"agent": "echo", "instance": "writers-1", "processingMs": 2.0}


async def test_an_answer_in_one_piece_is_one_event(rest: Rest) -> None:
    rest.host(make_policy(), echo)
    async with rest.client.post(rest.url + EXECUTE, data="hello", headers=EVENTS) as response:
        assert [event for event, _ in events_of(await response.text())] == ["message", "done"]


async def test_an_error_before_the_first_piece_is_a_status(rest: Rest) -> None:
    rest.host(make_policy(), fails_with(ErrorValue(pb.OVERLOADED, "full", 100, pb.DELIVERED_YES)))
    async with rest.client.post(rest.url + EXECUTE, json={"input": "x"}, headers=EVENTS) as response:
        assert (response.status, response.content_type) == (429, "application/problem+json")


async def test_an_error_after_it_is_an_event(rest: Rest) -> None:
    rest.host(make_policy(), breaks_off)
    async with rest.client.post(rest.url + EXECUTE, json={"input": "x"}, headers=EVENTS) as response:
        found = events_of(await response.text())
    assert found[0] == ("message", "one")
    assert found[1][0] == "error"
    assert json.loads(found[1][1])["code"] == "PROCESSING_ERROR"


async def test_a_silent_stream_begins_and_stays_alive() -> None:
    answer = asyncio.Event()

    async def thinks(call: IncomingCall) -> None:
        await answer.wait()
        call.fail(ErrorValue(pb.PROCESSING_ERROR, "no", delivered=pb.DELIVERED_YES))

    async with serving(replace(RestLimits(), event_idle_s=0.02)) as rest:
        rest.host(make_policy(), thinks)
        async with rest.client.post(rest.url + EXECUTE, json={"input": "x"}, headers=EVENTS) as response:
            assert await response.content.readuntil(b"\n\n") == b":\n\n"
            answer.set()
            found = events_of(await response.text())
    assert [event for event, _ in found] == ["error"]


async def test_pieces_come_while_the_handler_is_still_at_work(rest: Rest) -> None:
    go_on = asyncio.Event()

    async def waits(call: IncomingCall) -> None:
        await call.send(b"one", "text/plain")
        await go_on.wait()
        await call.close(Payload())

    rest.host(make_policy(), waits)
    async with rest.client.post(rest.url + EXECUTE, json={"input": "x"}, headers=EVENTS) as response:
        assert await response.content.readuntil(b"\n\n") == b"data: one\n\n"
        go_on.set()
        assert (await response.content.read()).startswith(b"event: done\n")


async def test_hanging_up_on_a_stream_cancels_the_handler(rest: Rest) -> None:
    async def endless(call: IncomingCall) -> None:
        while not call.over:
            await call.send(b"more", "text/plain")
            await asyncio.sleep(0.001)

    rest.host(make_policy(), endless)
    async with rest.client.post(rest.url + EXECUTE, json={"input": "x"}, headers=EVENTS) as response:
        await response.content.readuntil(b"\n\n")
    await eventually(lambda: rest.fake.cancelled == 1 and rest.core.active == 0)


async def test_raw_pieces_stream_with_the_type_of_the_first(rest: Rest) -> None:
    rest.host(make_policy(), tells)
    async with rest.client.post(rest.url + EXECUTE, data=b"x", headers={"Content-Type": "x/y"}) as response:
        assert (response.status, response.content_type) == (200, "text/plain")
        assert await response.text() == "onetwo\nlinesdréi"


async def test_json_gathers_the_pieces(rest: Rest) -> None:
    rest.host(make_policy(), tells)
    async with rest.client.post(rest.url + EXECUTE, json={"input": "x"}) as response:
        assert (await response.json())["output"] == "onetwo\nlinesdréi"


async def test_json_gathers_values_in_an_array(rest: Rest) -> None:
    async def counts(call: IncomingCall) -> None:
        for number in range(3):
            await call.send(b'{"n": %d}' % number, "application/json")
        await call.close(Payload())

    rest.host(make_policy(), counts)
    async with rest.client.post(rest.url + EXECUTE, json={"input": "x"}) as response:
        assert (await response.json())["output"] == [{"n": 0}, {"n": 1}, {"n": 2}]


async def test_a_large_json_value_is_one_event(rest: Rest) -> None:
    rest.host(make_policy(), echo)
    value = {"text": "x" * 300_000}
    async with rest.client.post(rest.url + EXECUTE, json={"input": value}, headers=EVENTS) as response:
        (event, data), (last, _) = events_of(await response.text())
    assert (event, json.loads(data), last) == ("message", value, "done")


async def test_half_a_raw_answer_is_never_taken_for_a_whole_one(rest: Rest) -> None:
    rest.host(make_policy(), breaks_off)
    async with rest.client.post(rest.url + EXECUTE, data=b"x", headers={"Content-Type": "x/y"}) as response:
        with pytest.raises(ClientPayloadError):
            await response.read()


async def test_an_endless_answer_is_not_gathered() -> None:
    async def endless(call: IncomingCall) -> None:
        while not call.over:
            await call.send(b"x" * 65536, "text/plain")

    async with serving(replace(RestLimits(), answer_bytes=1 << 20)) as rest:
        rest.host(make_policy(), endless)
        async with rest.client.post(rest.url + EXECUTE, json={"input": "x"}) as response:
            assert (response.status, (await response.json())["code"]) == (413, "PAYLOAD_TOO_LARGE")
        await eventually(lambda: rest.fake.cancelled == 1)


async def test_a_client_that_does_not_read_holds_the_handler_and_is_cut_off() -> None:
    sent = 0

    async def pours(call: IncomingCall) -> None:
        nonlocal sent
        while not call.over:
            await call.send(b"x" * 65536, "application/x-tar")
            sent += 65536

    async with serving(replace(RestLimits(), write_stall_s=0.3)) as rest:
        rest.host(make_policy(), pours)
        _, writer = await asyncio.open_connection("127.0.0.1", rest.port, limit=1024)
        writer.write(f"POST {EXECUTE} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n".encode())
        async with asyncio.timeout(DEADLINE_S):
            await eventually(lambda: rest.fake.cancelled == 1)
        assert sent < 32 << 20  # what sockets hold, not what the handler could have poured
        writer.close()
