"""Agents that are plain HTTP servers and know nothing of us."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from sidecar_ends import PATIENCE_S, Stage, assignment, running, staged, until

from switchboard.answers import join_pieces
from switchboard_sidecar import http_health
from switchboard_wire.calls import Payload, call_unary
from switchboard_wire.errors import NodeUnavailable, Overloaded, PayloadTooLarge, ProcessingError, SwitchboardError
from switchboard_wire.limits import MAX_DATA_BYTES
from switchboard_wire.v1 import frames_pb2 as pb

pytestmark = pytest.mark.integration
Start = Callable[[Any], Awaitable[Any]]


class UserServer:
    """What a user might have written."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.aborted = 0
        self.release = asyncio.Event()
        self.port = 0
        self.health: int | None = 200  # None: the path hangs
        self._runner: web.AppRunner | None = None

    async def start(self, port: int = 0) -> None:
        app = web.Application(client_max_size=1 << 26)
        app.router.add_post("/agents/{agent}/execute", self._execute)
        app.router.add_get("/healthz", self._health)
        self._runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", port)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        self.release.set()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _health(self, _: web.Request) -> web.Response:
        if self.health is None:
            await self.release.wait()
        return web.Response(status=self.health or 200)

    async def _execute(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self.requests.append({"path": request.path, "headers": dict(request.headers), "body": body})
        what = body[:20].decode("ascii", "replace")
        if what == "slow":
            try:
                await self.release.wait()
            except asyncio.CancelledError:
                self.aborted += 1
                raise
        elif what == "busy":
            return web.Response(status=429, headers={"Retry-After": "2"})
        elif what == "crash":
            return web.Response(status=500, text="out of ideas")
        elif what == "hang up":
            assert request.transport is not None
            request.transport.close()
        elif what == "stream":
            return await self._stream(request)
        elif what.startswith("chunks "):
            return await self._chunks(request, json.loads(body.removeprefix(b"chunks ")))
        elif what == "priced":
            return web.Response(body=body, headers={"X-Cost": "3", "Set-Cookie": "id=1"})
        return web.Response(body=body, content_type="application/json")

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b"data: 1\n\n")
        await self.release.wait()
        await response.write(b"data: 2\n\n")
        return response

    async def _chunks(self, request: web.Request, wanted: dict[str, Any]) -> web.StreamResponse:
        """The parts, each as often as told, in writes of their own."""
        response = web.StreamResponse(headers={"Content-Type": wanted["type"]})
        await response.prepare(request)
        for part, times in wanted["parts"]:
            await response.write(part.encode() * times)
            await asyncio.sleep(0.02)
        return response


@contextlib.asynccontextmanager
async def serving(folder: Path, health_path: str = "", **fields: Any) -> AsyncIterator[tuple[Stage, UserServer]]:
    """A sidecar with one HTTP agent `web`, ready."""
    server = UserServer()
    await server.start()
    try:
        async with staged(folder) as stage:
            http = pb.HttpHandler(port=server.port, health_path=health_path)
            stage.assign(assignment("web", http=http, **fields), drain_ms=60_000)
            async with running(stage) as sidecar:
                await until(lambda: stage.gateway.ready == {"web"})
                assert sidecar.why_not_ready() is None
                yield stage, server
                await server.stop()
    finally:
        await server.stop()


async def test_a_call_is_a_post_with_cloud_event_headers_and_its_response_the_answer(tmp_path: Path) -> None:
    async with serving(tmp_path) as (stage, server):
        open_ = pb.Open(
            target=pb.Target(type="web", key="k"), message_id="m1", deadline_ms=60_000, traceparent="00-1-2-01"
        )
        payload = Payload(b'{"a": 1}', "application/json", "Sum")
        close = await call_unary(stage.gateway.peer, open_, payload)
        assert (json.loads(close.data), close.content_type) == ({"a": 1}, "application/json")
        assert close.processing_us > 0
        (request,) = server.requests
        headers = {name.lower(): value for name, value in request["headers"].items()}
        assert (request["path"], request["body"]) == ("/agents/web/execute", b'{"a": 1}')
        assert headers["content-type"] == "application/json"
        assert {
            name: headers[name] for name in ("ce-id", "ce-type", "ce-subject", "ce-specversion", "traceparent")
        } == {
            "ce-id": "m1",
            "ce-type": "Sum",
            "ce-subject": "web/k",
            "ce-specversion": "1.0",
            "traceparent": "00-1-2-01",
        }
        assert 0 < int(headers["switchboard-deadline-ms"]) <= 60_000


async def test_headers_of_the_response_come_back_with_the_answer(tmp_path: Path) -> None:
    async with serving(tmp_path) as (stage, _):
        assert dict((await stage.gateway.call("web", b"priced")).headers) == {"x-cost": "3"}


@pytest.mark.parametrize("health", [500, None], ids=["the path answers an error", "the path hangs"])
async def test_a_server_whose_health_path_fails_gets_no_calls_until_it_is_well(
    tmp_path: Path, health: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_health, "PERIOD_S", 0.05)
    monkeypatch.setattr(http_health, "PATIENCE_S", 1.0)
    async with serving(tmp_path, health_path="/healthz") as (stage, server):
        server.health = health
        await until(lambda: stage.gateway.ready == set())
        assert stage.sidecar is not None
        assert "GET /healthz on port" in (stage.sidecar.why_not_ready() or "")
        with pytest.raises(NodeUnavailable) as refused:
            await stage.gateway.call("web", b"not now")
        assert refused.value.error.delivered == pb.DELIVERED_NO
        server.health = 204
        await until(lambda: stage.gateway.ready == {"web"})


async def test_large_payloads_pass_up_to_the_agents_limit(tmp_path: Path) -> None:
    async with serving(tmp_path, max_payload_bytes=1_000_000) as (stage, _):
        data = bytes(900_000)
        assert (await stage.gateway.call("web", data)).data == data
        with pytest.raises(PayloadTooLarge):
            await stage.gateway.call("web", bytes(1_100_000))


async def test_events_stream_as_they_come(tmp_path: Path) -> None:
    async with serving(tmp_path) as (stage, server):
        pieces = stage.gateway.open("web", b"stream").pieces()
        first = await anext(pieces)
        assert (first.data, first.content_type) == (b"data: 1\n\n", "text/event-stream")
        server.release.set()
        assert [piece.data async for piece in pieces] == [b"data: 2\n\n"]


@pytest.mark.parametrize(
    ("content_type", "times"),
    [
        ("application/json", 1),
        ("application/problem+json; charset=utf-8", 1),
        ("application/json", MAX_DATA_BYTES // 4),  # 4 bytes each
        ("application/json", 500_000),
    ],
)
async def test_json_in_chunks_is_one_value(tmp_path: Path, content_type: str, times: int) -> None:
    parts = [['{"items": [1, 2, 3', 1], ["45, ", times], ['6], "ok": true}', 1]]
    value = "".join(text * count for text, count in parts).encode()
    asked = b"chunks " + json.dumps({"type": content_type, "parts": parts}).encode()
    async with serving(tmp_path) as (stage, _):
        frames: list[pb.Frame] = []
        close = await stage.gateway.open("web", asked).gather(frames.append)
        assert (close.content_type, len(frames)) == (content_type, (len(value) - 1) // MAX_DATA_BYTES)
        assert {len(frame.data) for frame in frames} <= {MAX_DATA_BYTES}
        joined = join_pieces(frames, close) if frames else close
        assert (joined.data == value, joined.content_type) == (True, content_type)


async def test_lines_of_json_stream_as_they_come(tmp_path: Path) -> None:
    asked = {"type": "application/x-ndjson", "parts": [['{"a":1}\n', 1], ['{"b":2}\n', 1]]}
    async with serving(tmp_path) as (stage, _):
        frames: list[pb.Frame] = []
        close = await stage.gateway.open("web", b"chunks " + json.dumps(asked).encode()).gather(frames.append)
        assert close.data == b""
        assert b"".join(frame.data for frame in frames) == b'{"a":1}\n{"b":2}\n'


async def test_a_caller_that_gives_up_aborts_the_request(tmp_path: Path) -> None:
    async with serving(tmp_path) as (stage, server):
        call = stage.gateway.open("web", b"slow")
        await until(lambda: server.requests)
        call.cancel()
        await until(lambda: server.aborted == 1)
        assert (await stage.gateway.call("web", b"next")).data == b"next"


@pytest.mark.parametrize(
    ("body", "error", "delivered", "message"),
    [
        (b"busy", Overloaded, pb.DELIVERED_NO, "answered 429"),
        (b"crash", ProcessingError, pb.DELIVERED_YES, "answered 500: out of ideas"),
        (b"hang up", NodeUnavailable, pb.DELIVERED_MAYBE, "broke the connection"),
    ],
    ids=["busy", "crash", "hang up"],
)
async def test_what_goes_wrong_has_its_code(
    tmp_path: Path, body: bytes, error: type[SwitchboardError], delivered: int, message: str
) -> None:
    async with serving(tmp_path) as (stage, _):
        with pytest.raises(error, match=message) as caught:
            await stage.gateway.call("web", body)
        assert caught.value.error.delivered == delivered
        assert (await stage.gateway.call("web", b"fine")).data == b"fine"


async def test_the_deadline_ends_the_request(tmp_path: Path) -> None:
    async with serving(tmp_path) as (stage, server):
        async with asyncio.timeout(PATIENCE_S):
            while not server.aborted:  # on a busy machine one may end before the server has it
                with pytest.raises(SwitchboardError, match="DEADLINE_EXCEEDED"):
                    await stage.gateway.call("web", b"slow", deadline_ms=200)
                await asyncio.sleep(0.05)


async def test_a_server_that_is_down_is_not_called_and_ready_when_it_is_back(tmp_path: Path) -> None:
    async with serving(tmp_path) as (stage, server):
        port = server.port
        await server.stop()
        with pytest.raises(NodeUnavailable) as refused:
            await stage.gateway.call("web")
        assert refused.value.error.delivered == pb.DELIVERED_NO
        await until(lambda: stage.gateway.ready == set())
        assert stage.sidecar is not None
        assert stage.sidecar.why_not_ready() == f"web: nothing answers on port {port}"
        server.release.clear()
        await server.start(port)
        await until(lambda: stage.gateway.ready == {"web"})


async def test_it_drains_without_a_failed_message_though_it_knows_nothing_of_us(tmp_path: Path) -> None:
    async with serving(tmp_path) as (stage, server):
        call = stage.gateway.open("web", b"slow")
        await until(lambda: server.requests)
        draining = asyncio.ensure_future(stage.drain())
        assert stage.sidecar is not None
        drainer = stage.sidecar.drainer
        await until(lambda: drainer.is_draining and drainer.gate() is not None)
        assert not draining.done()
        server.release.set()
        assert (await call.result()).data == b"slow"
        assert await draining == 0


async def test_http_and_python_agents_live_side_by_side(tmp_path: Path, start: Start) -> None:
    server = await start(UserServer())
    async with staged(tmp_path) as stage:
        http = assignment("web", http=pb.HttpHandler(port=server.port))
        stage.assign(assignment("echo"), http, drain_ms=60_000)
        async with running(stage):
            host = stage.attach()
            await until(lambda: stage.gateway.ready == {"web", "echo"})
            assert [agent.name for agent in host.assigned[0].agents] == ["echo"]
            assert (await host.call("web", b"from python")).data == b"from python"
            stage.assign(assignment("echo"), generation=2)
            await until(lambda: stage.gateway.ready == {"echo"})
