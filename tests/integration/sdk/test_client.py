"""The client against a gateway of a few lines: calls, pieces, errors, and a session that comes back."""

import asyncio
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
from ports import free_port

from switchboard import (
    AgentNotFound,
    Answer,
    Call,
    Client,
    DeadlineExceeded,
    NodeUnavailable,
    Overloaded,
    SwitchboardError,
    ValidationFailed,
)
from switchboard_wire.calls import IncomingCall, Payload
from switchboard_wire.errors import failure
from switchboard_wire.limits import MAX_DATA_BYTES
from switchboard_wire.v1 import frames_pb2 as pb

pytestmark = pytest.mark.integration


@dataclass
class Point:
    x: int
    y: int


async def answer(call: IncomingCall) -> None:
    """Acts by the target's type."""
    opened, first = call.first.open, call.first
    kind = opened.target.type or opened.target.capability
    if kind == "missing":
        raise failure(pb.AGENT_NOT_FOUND, "no Agent of type 'missing'")
    if kind == "full":
        raise failure(pb.OVERLOADED, "full", retry_after_ms=1500)
    if kind == "never":
        await asyncio.Event().wait()
    body = await call.body(1 << 26)
    if kind == "words":
        for word in body.decode().split():
            await call.send(word.encode(), "text/plain")
        await call.close(Payload())
    elif kind == "values":  # each of so many bytes
        for size in body.decode().split():
            value = b'"' + b"x" * (int(size) - 2) + b'"'
            await call.send(value, "application/json")
            if int(size) % MAX_DATA_BYTES == 0:
                await call.send(b"", "application/json")
        await call.close(Payload())
    elif kind == "blob":
        await call.send(b"x" * int(body), "application/octet-stream")
        await call.send(b"", "application/octet-stream")
        await call.send(b"end", "application/octet-stream")
        await call.close(Payload())
    else:
        await call.close(Payload(body, first.content_type), processing_us=5)


async def test_values_come_back_as_they_went(gateway: Any) -> None:
    async with gateway(answer) as end, Client(end.address) as client:
        for value in ["text", b"octets", {"a": [1, "é"]}, [1, 2], 7, True, None]:
            assert (await client.request("echo", value)).value == value
        assert (await client.request("echo", Point(1, 2))).into(Point) == Point(1, 2)
        with pytest.raises(ValidationFailed, match="y: Field required"):
            (await client.request("echo", {"x": 1})).into(Point)


async def test_what_a_call_says_reaches_the_gateway(gateway: Any) -> None:
    async with gateway(answer) as end, Client(end.address) as client:
        await client.request("echo", "once the session is there, no time goes to the wait for it")
        first = await client.request("echo/k", "x", timeout_s=62.5, headers={"a": "b"}, priority=3, method="m")
        await client.request("capability:summarize", "x", key="k2", idempotency_key="once")
        await client.send("echo", "x", ack="accepted")
    _, one, two, three = end.opens
    assert (one.target.type, one.target.key, one.deadline_ms, dict(one.headers)) == ("echo", "k", 62500, {"a": "b"})
    assert (one.priority, one.method, one.message_id) == (3, "m", first.message_id)
    assert (two.target.capability, two.target.key, two.idempotent, two.idempotency_key) == (
        "summarize", "k2", True, "once"
    )  # fmt: skip
    assert (three.reply, three.ack, three.idempotent) == (pb.REPLY_NONE, pb.ACK_ACCEPTED, False)
    assert len({one.message_id, two.message_id, three.message_id}) == 3


@pytest.mark.parametrize("size", [0, 1, MAX_DATA_BYTES, MAX_DATA_BYTES + 1, 5_000_000])
async def test_a_payload_of_any_size_comes_back_whole(gateway: Any, size: int) -> None:
    async with gateway(answer) as end, Client(end.address) as client:
        assert (await client.request("echo", b"x" * size)).data == b"x" * size


async def test_errors_are_caught_by_class(gateway: Any) -> None:
    async with gateway(answer) as end, Client(end.address) as client:
        with pytest.raises(AgentNotFound, match="missing"):
            await client.request("missing", "x")
        with pytest.raises(Overloaded) as caught:
            await client.request("full", "x")
        assert caught.value.retry_after_s == 1.5
        with pytest.raises(SwitchboardError, match="no agent type"):
            await client.request("No Such", "x")


async def test_a_deadline_ends_the_call_at_both_ends(gateway: Any) -> None:
    async with gateway(answer) as end, Client(end.address) as client:
        await client.request("echo", "the session is there")
        async with asyncio.timeout(60):
            while not end.cancelled.is_set():  # on a busy machine one may end before it is written
                with pytest.raises(DeadlineExceeded):
                    await client.request("never", "x", timeout_s=0.05)


async def test_cancelling_the_task_cancels_the_call(gateway: Any) -> None:
    async with gateway(answer) as end, Client(end.address) as client:
        task = asyncio.create_task(client.request("never", "x"))
        async with asyncio.timeout(60):
            while not end.opens:
                await client.request("echo", "until the first has come")
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await end.cancelled.wait()
        assert task.cancelled()


async def test_pieces_are_read_as_they_come_and_collected_by_request(gateway: Any) -> None:
    async with gateway(answer) as end, Client(end.address) as client:
        stream = client.stream("words", "to be or not")
        assert [piece async for piece in stream] == ["to", "be", "or", "not"]
        assert isinstance(stream.answer, Answer)
        assert (await client.request("words", "to be")).text == "tobe"
        assert [piece async for piece in client.stream("echo", {"a": 1})] == [{"a": 1}]


async def test_a_piece_of_any_size_stays_one_piece(gateway: Any) -> None:
    async with gateway(answer) as end, Client(end.address) as client:
        for size in (MAX_DATA_BYTES, 2 * MAX_DATA_BYTES):
            pieces = [piece async for piece in client.stream("blob", str(size))]
            assert [len(piece) for piece in pieces] == [size, 3]


@pytest.mark.parametrize("size", [MAX_DATA_BYTES, MAX_DATA_BYTES + 1, 2 * MAX_DATA_BYTES])
async def test_a_whole_answer_of_any_size_is_one_piece_of_its_stream(gateway: Any, size: int) -> None:
    value = {"text": "x" * (size - len('{"text":""}'))}
    async with gateway(answer) as end, Client(end.address) as client:
        assert [piece async for piece in client.stream("echo", value)] == [value]


async def test_values_of_any_size_are_collected_in_an_array(gateway: Any) -> None:
    sizes = [MAX_DATA_BYTES, 9, MAX_DATA_BYTES + 1]

    async def later() -> AsyncIterator[str]:
        for size in sizes:
            yield f"{size} "

    text = " ".join(str(size) for size in sizes)
    async with gateway(answer) as end, Client(end.address) as client:
        for payload in (text, later()):
            assert [len(value) + 2 for value in (await client.request("values", payload)).value] == sizes


async def test_pieces_are_sent_as_they_are_made(gateway: Any) -> None:
    async def lines() -> AsyncIterator[str]:
        for number in range(100):
            yield f"line {number}\n"

    expected = "".join(f"line {number}\n" for number in range(100))
    async with gateway(answer) as end, Client(end.address) as client:
        assert (await client.request("echo", lines())).text == expected


async def test_gather_keeps_the_order_and_the_bound(gateway: Any) -> None:
    under_way = most = 0
    five = asyncio.Event()

    async def slow(call: IncomingCall) -> None:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        if under_way == 5:
            five.set()
        async with asyncio.timeout(60):
            await five.wait()
        await asyncio.sleep(0.002)
        under_way -= 1
        await answer(call)

    async with gateway(slow) as end, Client(end.address) as client:
        calls: list[Call | tuple[str, object]] = [Call("echo", number) for number in range(50)]
        calls[7] = ("missing", "x")
        outcomes = await client.gather(calls, limit=5)
    assert isinstance(outcomes.pop(7), AgentNotFound)
    assert [outcome.value for outcome in outcomes if isinstance(outcome, Answer)] == [n for n in range(50) if n != 7]
    assert most == 5


async def test_gather_raises_the_first_error_when_told(gateway: Any) -> None:
    async with gateway(answer) as end, Client(end.address) as client:
        answers = await client.gather([("echo", "a"), ("echo", "b")], raise_errors=True)
        assert [each.text for each in answers] == ["a", "b"]
        with pytest.raises(AgentNotFound):
            await client.gather([("never", "a"), ("missing", "b")], raise_errors=True)
        async with asyncio.timeout(60):
            await end.cancelled.wait()


async def test_a_pipeline_hands_each_answer_on(gateway: Any) -> None:
    async with gateway(answer) as end, Client(end.address) as client:
        steps = ["echo", Call("echo", {"style": "short"}), Call("echo", lambda value: value["previous_output"] + "!")]
        result = await client.pipeline(steps, "text")
        assert [outcome.value for outcome in result.outcomes if isinstance(outcome, Answer)] == [
            "text", {"style": "short", "previous_output": "text"}, "text!"
        ]  # fmt: skip
        stopped = await client.pipeline(["echo", "missing", "echo"], "text")
        assert (len(stopped.outcomes), type(stopped.error)) == (2, AgentNotFound)
        with pytest.raises(AgentNotFound):
            stopped.raise_for_error()
        went_on = await client.pipeline(["echo", "missing", "echo"], "text", go_on=True)
        assert len(went_on.outcomes) == 3
        assert went_on.answer is not None
        assert went_on.answer.text == "text"


async def test_a_session_comes_back_and_what_was_not_written_is_sent_then(gateway: Any) -> None:
    address = f"127.0.0.1:{free_port()}"
    async with gateway(answer, address):
        client = Client(address)
        await client.__aenter__()
        assert (await client.request("echo", "before")).text == "before"
    async with asyncio.timeout(60):
        while "cannot be reached" not in await _refused(client):  # until the loss is noticed, calls are lost with it
            pass
    waiting = asyncio.create_task(client.request("echo", "held", timeout_s=60))
    async with gateway(answer, address):
        assert (await waiting).text == "held"
        await client.__aexit__()


async def _refused(client: Client) -> str:
    with pytest.raises((NodeUnavailable, DeadlineExceeded)) as caught:
        await client.request("echo", "nobody there", timeout_s=0.05)
    return caught.value.message


async def test_goaway_moves_new_calls_and_lets_the_old_ones_end(gateway: Any) -> None:
    leave = asyncio.Event()

    async def hold(call: IncomingCall) -> None:
        if (await call.body(1 << 20)) == b"old":
            await leave.wait()
        await call.close(Payload(str(id(call._peer)).encode(), "text/plain"))

    async with gateway(hold) as end, Client(end.address) as client:
        old = asyncio.create_task(client.request("echo", "old"))
        first = (await client.request("echo", "x")).text
        end.peers[0].send(pb.Frame(kind=pb.GOAWAY, goaway=pb.Goaway(reason="test")))
        async with asyncio.timeout(60):
            while (second := (await client.request("echo", "x")).text) == first:
                pass
            leave.set()
            assert (await old).text == first != second
            await end.wait_for(lambda: len(end.peers) == 1)


async def test_an_idempotent_call_is_repeated_when_the_session_is_lost(gateway: Any) -> None:
    seen = 0

    async def lose_the_first(call: IncomingCall) -> None:
        nonlocal seen
        seen += 1
        if seen == 1:
            call._peer.lose("test")
            raise failure(pb.INTERNAL_ERROR, "nobody hears this")
        await answer(call)

    async with gateway(lose_the_first) as end, Client(end.address) as client:
        task = asyncio.create_task(client.request("echo", "x", idempotent=True, timeout_s=60))
        async with asyncio.timeout(60):
            assert (await task).text == "x"
    assert seen == 2


PROGRAM = """
import sys
from switchboard import Answer, AgentNotFound, SyncClient

with SyncClient(sys.argv[1]) as client:
    assert client.request("echo", "x").text == "x"
    assert list(client.stream("words", "to be")) == ["to", "be"]
    assert [type(outcome) for outcome in client.gather([("echo", "a"), ("missing", "b")])] == [Answer, AgentNotFound]
    assert client.pipeline(["echo"], "a").raise_for_error().text == "a"
    client.send("echo", "a")
    try:
        client.request("missing")
    except AgentNotFound as error:
        print(error.code)
"""


async def test_programs_without_asyncio_make_the_same_calls(gateway: Any) -> None:
    """In a process of its own: grpc serves one event loop well, and this one has the gateway's."""
    async with gateway(answer) as end:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", PROGRAM, end.address, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        out, err = await process.communicate()
    assert (out, err) == (b"AGENT_NOT_FOUND\n", b"")
