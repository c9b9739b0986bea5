"""A session as a WebSocket: many calls at once, both ways, and nothing that a client does hurts another."""

import asyncio
import base64
import contextlib
import json
import socket as sockets
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import ClientSession, ClientWebSocketResponse, WSMsgType, WSServerHandshakeError
from rest_server import Rest, echo, eventually, fails_with, hangs, make_policy, raw_exchange, serving

from switchboard_gateway.age import Age
from switchboard_gateway.rest import RestLimits
from switchboard_gateway.rest.limits import SocketLimits
from switchboard_routing.policy import Subscription
from switchboard_wire.calls import IncomingCall, Payload
from switchboard_wire.errors import ErrorValue
from switchboard_wire.v1 import frames_pb2 as pb

PATIENCE_S = 120.0
Json = dict[str, Any]


class Socket:
    """A client's end."""

    def __init__(self, socket: ClientWebSocketResponse) -> None:
        self.raw = socket

    async def send(self, kind: str, call: int = 0, **members: object) -> None:
        await self.raw.send_json({"kind": kind, **({"call": call} if call else {}), **members})

    async def next(self) -> Json:
        """The next frame. Fails when the socket was closed instead."""
        received = await self.raw.receive(timeout=PATIENCE_S)
        assert received.type is WSMsgType.TEXT, f"{received.type!r} {received.data!r} {received.extra!r}"
        found: Json = json.loads(received.data)
        return found

    async def closed(self) -> tuple[int, str]:
        """Read up to the gateway's close; its code and reason."""
        while True:
            received = await self.raw.receive(timeout=PATIENCE_S)
            if received.type in (WSMsgType.CLOSE, WSMsgType.CLOSED, WSMsgType.ERROR):
                return received.data, received.extra or ""

    async def ask(self, call: int, target: object, **members: object) -> Json:
        """One whole call; its CLOSE."""
        await self.send("OPEN", call, target=target, **members)
        return await self.next()


@contextlib.asynccontextmanager
async def connected(rest: Rest, **options: Any) -> AsyncIterator[Socket]:
    async with rest.client.ws_connect(f"{rest.url}/ws", **options) as raw:
        socket = Socket(raw)
        hello = await socket.next()
        assert (hello["kind"], hello["protocol"], hello["namespace"]) == ("HELLO", 1, "default")
        yield socket


@contextlib.asynccontextmanager
async def limited(**limits: Any) -> AsyncIterator[Rest]:
    async with serving(RestLimits(socket=SocketLimits(**limits))) as rest:
        yield rest


async def count(call: IncomingCall) -> None:
    for number in range(3):
        await call.send(str(number).encode(), "text/plain")
    await call.close(Payload(b"end", "text/plain"), processing_us=9)


async def echo_pieces(call: IncomingCall) -> None:
    async for piece in call.pieces():
        await call.send(piece, "text/plain")
    await call.close(Payload())


async def test_a_call_is_answered(rest: Rest) -> None:
    rest.host(make_policy(), echo)
    async with connected(rest) as socket:
        assert await socket.ask(1, "echo/k", input={"a": 1}, id="m-1", metadata={"x": "y"}) == {
            "kind": "CLOSE",
            "call": 1,
            "id": "m-1",
            "agent": "echo",
            "instance": "writers-1",
            "processingMs": 1.5,
            "output": {"a": 1},
            "contentType": "application/json",
        }
        assert (await socket.ask(2, "echo", data="/wA="))["data"] == "/wA="
    [first, _] = rest.fake.seen
    assert (first.target.key, first.message_id, dict(first.headers)) == ("k", "m-1", {"x": "y"})


async def test_calls_are_multiplexed(rest: Rest) -> None:
    gate = asyncio.Event()

    async def wait(call: IncomingCall) -> None:
        await gate.wait()
        await call.close(Payload(b"late", "text/plain"))

    rest.host(make_policy(), echo)
    rest.host(make_policy("wait"), wait)
    async with connected(rest) as socket:
        await socket.send("OPEN", 1, target="wait")
        assert (await socket.ask(2, "echo", input="now"))["output"] == "now"
        gate.set()
        assert ((late := await socket.next())["call"], late["output"]) == (1, "late")


async def test_an_answer_streams(rest: Rest) -> None:
    rest.host(make_policy("count"), count)
    async with connected(rest) as socket:
        await socket.send("OPEN", 1, target="count")
        frames = [await socket.next() for _ in range(4)]
    assert [(frame["kind"], frame["output"]) for frame in frames] == [
        *[("DATA", str(number)) for number in range(3)],
        ("CLOSE", "end"),
    ]


async def test_both_ways_stream_at_once(rest: Rest) -> None:
    rest.host(make_policy("talk"), echo_pieces)
    async with connected(rest) as socket:
        await socket.send("OPEN", 1, target="talk", input="a", end=False)
        assert (await socket.next())["output"] == "a"
        await socket.send("DATA", 1, input="b")
        assert (await socket.next())["output"] == "b"
        await socket.send("HALF_CLOSE", 1)
        assert (await socket.next())["kind"] == "CLOSE"


async def test_a_large_request_goes_as_credit_comes(rest: Rest) -> None:
    rest.host(make_policy(), echo)
    size, piece = 2_000_000, 100_000
    async with connected(rest) as socket:
        credit, sent = 256 * 1024, piece
        await socket.send("OPEN", 1, target="echo", data=encode(b"x" * piece), end=False)
        received = 0
        while True:
            while sent < size and credit > 0:
                await socket.send("DATA", 1, data=encode(b"x" * piece), end=sent + piece >= size)
                sent, credit = sent + piece, credit - piece
            frame = await socket.next()
            if frame["kind"] == "WINDOW":
                credit += frame["credit"]
                continue
            received += len(base64.b64decode(frame.get("data", "")))
            if frame["kind"] == "CLOSE":
                break
    assert received == size


def encode(data: bytes) -> str:
    return base64.b64encode(data).decode()


async def test_a_request_beyond_its_credit_is_ended(rest: Rest) -> None:
    rest.host(make_policy("slow"), hangs)
    async with connected(rest) as socket:
        await socket.send("OPEN", 1, target="slow", end=False)
        for _ in range(4):
            await socket.send("DATA", 1, data=encode(b"x" * 100_000))
        closed = await socket.next()
        assert (closed["kind"], closed["error"]["code"]) == ("CLOSE", "VALIDATION_FAILED")
        assert "credit" in closed["error"]["message"]


async def test_a_client_may_grant_credit_itself(rest: Rest) -> None:
    sent = 0

    async def pour(call: IncomingCall) -> None:
        nonlocal sent
        for _ in range(8):
            await call.send(b"x" * 100_000, "text/plain")
            sent += 1
        await call.close(Payload())

    rest.host(make_policy("pour"), pour)
    rest.host(make_policy(), echo)
    async with connected(rest) as socket:
        await socket.send("OPEN", 1, target="pour", manualCredit=True)
        assert [(await socket.next())["bytes"] for _ in range(3)] == [100_000] * 3
        assert (await socket.ask(2, "echo", input="others go on"))["call"] == 2
        assert sent == 3, "the fourth piece waits for credit"
        await socket.send("WINDOW", 1, credit=600_000)
        frames = [await socket.next() for _ in range(6)]
        assert [frame["kind"] for frame in frames] == ["DATA"] * 5 + ["CLOSE"]


async def test_an_error_is_a_row_of_the_table(rest: Rest) -> None:
    rest.host(make_policy("bad"), fails_with(ErrorValue(pb.PROCESSING_ERROR, "no", delivered=pb.DELIVERED_YES)))
    async with connected(rest) as socket:
        failed = (await socket.ask(1, "bad"))["error"]
        assert failed == {"code": "PROCESSING_ERROR", "message": "no", "status": 500, "delivered": "YES"}
        unknown = (await socket.ask(2, "nobody"))["error"]
        assert (unknown["code"], "there is bad" in unknown["message"]) == ("AGENT_NOT_FOUND", True)
        wrong = (await socket.ask(3, "bad", timeoutMs="soon"))["error"]
        assert (wrong["code"], wrong["status"]) == ("VALIDATION_FAILED", 400)
        assert (await socket.ask(4, "bad"))["error"]["code"] == "PROCESSING_ERROR", "the socket goes on"


async def test_a_topic_reaches_every_subscriber(rest: Rest) -> None:
    for name in "ab":
        rest.host(make_policy(name, topics=(Subscription("news"),)), echo)
    async with connected(rest) as socket:
        closed = await socket.ask(1, {"topic": "news", "source": "s"}, input="x")
    assert [(one["agent"], one["output"]) for one in closed["output"]] == [("a/s", "x"), ("b/s", "x")]


async def test_cancel_reaches_the_handler_and_ends_the_call_once(rest: Rest) -> None:
    rest.host(make_policy("slow"), hangs)
    rest.host(make_policy(), echo)
    async with connected(rest) as socket:
        await socket.send("OPEN", 1, target="slow")
        await eventually(lambda: len(rest.fake.seen) == 1)
        await socket.send("CANCEL", 1)
        assert (await socket.next())["error"]["code"] == "CANCELLED"
        await eventually(lambda: rest.fake.cancelled == 1)
        for kind in ("CANCEL", "HALF_CLOSE", "DATA"):
            await socket.send(kind, 1)
        assert (await socket.ask(2, "echo", input="x"))["call"] == 2, "late frames are ignored"


async def test_a_ping_is_answered(rest: Rest) -> None:
    async with connected(rest, protocols=["switchboard.v1"]) as socket:
        assert socket.raw.protocol == "switchboard.v1"
        await socket.send("HELLO")
        await socket.send("PING", number=7)
        assert await socket.next() == {"kind": "PING", "number": 7, "answer": True}


@pytest.mark.parametrize("abruptly", [True, False])
async def test_a_socket_that_closes_cancels_its_calls(rest: Rest, abruptly: bool) -> None:
    rest.host(make_policy("slow"), hangs)
    async with connected(rest) as socket:
        for number in range(1, 4):
            await socket.send("OPEN", number, target="slow")
        await eventually(lambda: len(rest.fake.seen) == 3)
        if abruptly:
            assert socket.raw._response.connection is not None
            socket.raw._response.connection.transport.abort()  # type: ignore[union-attr]
    await eventually(lambda: rest.fake.cancelled == 3)
    await eventually(lambda: rest.core.active == 0 and not rest.core.sessions)


async def test_an_open_right_before_the_end_leaves_nothing_behind(rest: Rest) -> None:
    rest.host(make_policy("slow"), hangs)
    async with connected(rest) as socket:
        await socket.send("OPEN", 1, target="slow")
        await socket.raw.send_str("garbage")
        assert (await socket.closed())[0] == 1007
    await eventually(lambda: rest.core.active == 0 and rest.fake.cancelled == len(rest.fake.seen))


@pytest.mark.parametrize(
    ("text", "code"),
    [
        pytest.param("garbage", 1007, id="garbage"),
        pytest.param('{"kind": "OPEN"}', 1002, id="a frame without its call"),
        pytest.param('{"kind": "EXPLODE", "call": 1}', 1002, id="an unknown kind"),
        pytest.param('{"kind": "DATA", "call": 9}', 1002, id="data of a call that was never opened"),
        pytest.param('{"kind": "CANCEL", "call": 9}', 1002, id="cancel of a call that was never opened"),
        pytest.param('{"kind": "OPEN", "call": 1, "target": "echo"}', 1002, id="a call number that was used before"),
        pytest.param('{"kind": "PING", "number": "x"}', 1002, id="a ping that is none"),
        pytest.param("x" * 600_000, 1009, id="an oversized message"),
    ],
)
async def test_a_broken_rule_closes_this_socket_and_no_other(rest: Rest, text: str, code: int) -> None:
    rest.host(make_policy(), echo)
    async with connected(rest) as good, connected(rest) as socket:
        await socket.ask(1, "echo", input="x")
        await socket.raw.send_str(text)
        assert (await socket.closed())[0] == code
        assert (await good.ask(1, "echo", input="x"))["output"] == "x"


async def test_a_binary_message_closes_the_socket(rest: Rest) -> None:
    async with connected(rest) as socket:
        await socket.raw.send_bytes(b"\x00")
        assert (await socket.closed())[0] == 1003


async def test_bytes_that_are_no_websocket_close_the_connection(rest: Rest) -> None:
    upgrade = (
        b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    answer = await raw_exchange(rest.port, upgrade + b"\xff" * 1000)
    assert answer.startswith(b"HTTP/1.1 101")
    await eventually(lambda: not rest.core.sessions)


async def test_calls_per_socket_are_bounded() -> None:
    async with limited(calls=2) as rest:
        rest.host(make_policy("slow"), hangs)
        async with connected(rest) as socket:
            for number in (1, 2, 3):
                await socket.send("OPEN", number, target="slow")
            refused = await socket.next()
            assert (refused["call"], refused["error"]["code"]) == (3, "OVERLOADED")
            await socket.send("CANCEL", 1)
            assert (await socket.next())["call"] == 1
            await socket.send("OPEN", 4, target="slow")
            await eventually(lambda: len(rest.fake.seen) == 3)


async def test_an_idle_socket_is_closed_and_one_with_a_call_is_not() -> None:
    async with limited(idle_s=1.0) as rest:
        rest.host(make_policy("slow"), hangs)
        async with connected(rest) as busy:
            await busy.send("OPEN", 1, target="slow")
            async with connected(rest) as idle:
                code, reason = await idle.closed()
                assert (code, "nothing came for 1" in reason) == (1001, True)
            await busy.send("PING")
            assert (await busy.next())["kind"] == "PING"


async def test_an_old_socket_is_asked_to_go_and_serves_meanwhile() -> None:
    async with limited(age=Age(0.1, PATIENCE_S)) as rest:
        rest.host(make_policy(), echo)
        async with connected(rest) as old:
            assert await old.next() == {"kind": "GOAWAY", "reason": "the socket is old: begin anew"}
            assert (await old.ask(1, "echo", input="still"))["output"] == "still"


async def test_a_socket_that_is_too_old_is_ended_with_its_calls() -> None:
    async with limited(age=Age(1.0, 0.1)) as rest:
        rest.host(make_policy("slow"), hangs)
        async with connected(rest) as old:
            await old.send("OPEN", 1, target="slow")
            assert await old.closed() == (1001, "the socket was too old")
        await eventually(lambda: not rest.core.sessions)


async def test_sockets_are_bounded() -> None:
    async with serving(RestLimits(connections=4, socket=SocketLimits(share=0.5))) as rest:
        async with connected(rest), connected(rest):
            with pytest.raises(WSServerHandshakeError) as caught:
                async with connected(rest):
                    pass
            assert caught.value.status == 429
            async with rest.client.get(f"{rest.url}/health") as response:
                assert response.status == 200
        await eventually(lambda: not rest.core.sessions)
        async with connected(rest):
            pass


async def pour(call: IncomingCall) -> None:
    """Answers as fast as credit comes, for ever."""
    while True:
        await call.send(b"x" * 100_000, "text/plain")


async def unread(rest: Rest, calls: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A socket with calls whose answers nobody reads."""
    plain = sockets.socket()
    plain.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 4096)
    plain.setblocking(False)
    await asyncio.get_running_loop().sock_connect(plain, ("127.0.0.1", rest.port))
    reader, writer = await asyncio.open_connection(sock=plain, limit=1024)
    writer.write(
        b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    for number in range(1, calls + 1):
        body = json.dumps({"kind": "OPEN", "call": number, "target": "pour"}).encode()
        writer.write(bytes([0x81, 0x80 | len(body)]) + bytes(4) + body)
    return reader, writer


async def test_a_socket_that_stops_reading_is_cut_off_and_holds_little() -> None:
    limits = RestLimits(write_stall_s=1.0)
    async with serving(limits) as rest:
        rest.host(make_policy("pour"), pour)
        rest.host(make_policy(), echo)
        async with connected(rest) as good:
            _, writer = await unread(rest, calls=3)
            await eventually(lambda: len(rest.fake.seen) == 3)
            assert (await good.ask(1, "echo", input="x"))["output"] == "x"
            await eventually(lambda: rest.fake.cancelled == 3)
            assert (await good.ask(2, "echo", input="x"))["output"] == "x"
            assert len(rest.core.sessions) == 1
            writer.close()


async def test_a_socket_for_which_too_much_waits_is_closed() -> None:
    async with limited(waiting_bytes=200_000) as rest:
        rest.host(make_policy("pour"), pour)
        _, writer = await unread(rest, calls=8)
        await eventually(lambda: rest.fake.cancelled == 8)
        writer.close()


async def test_a_page_of_another_origin_is_refused(rest: Rest) -> None:
    with pytest.raises(WSServerHandshakeError) as caught:
        async with connected(rest, origin="http://evil.example"):
            pass
    assert caught.value.status == 403
    async with connected(rest, origin=rest.url):
        pass


async def test_a_request_that_is_no_handshake_is_refused(rest: Rest) -> None:
    async with rest.client.get(f"{rest.url}/ws") as response:
        assert (response.status, (await response.json())["code"]) == (400, "VALIDATION_FAILED")


async def test_a_gateway_that_leaves_says_so_and_calls_go_on(rest: Rest) -> None:
    rest.host(make_policy(), echo)
    async with connected(rest) as socket:
        rest.core.say_goodbye("the gateway stops")
        assert await socket.next() == {"kind": "GOAWAY", "reason": "the gateway stops"}
        assert (await socket.ask(1, "echo", input="still"))["output"] == "still"
        async with connected(rest) as late:
            assert (await late.next())["kind"] == "GOAWAY"


async def test_a_gateway_that_stops_closes_its_sockets() -> None:
    async with ClientSession() as client:
        async with serving() as rest:
            raw = await client.ws_connect(f"{rest.url}/ws")
            closing = asyncio.ensure_future(Socket(raw).closed())
        assert (await closing)[0] == 1001
