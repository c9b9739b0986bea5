"""The user's own HTTP servers as agents: a call becomes a POST to 127.0.0.1, its response the answer.

docs/reference/http-agents.md holds the mapping. Each server is the far end of a local pair, so the sidecar admits,
queues, relays and cancels its calls like any other's. Imported only when an HTTP agent is assigned.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Final

import aiohttp
from aiohttp.abc import AbstractStreamWriter

from switchboard_sidecar.http_health import ADDRESS, watch
from switchboard_sidecar.http_mapping import error_of, is_json, request_headers, response_headers, url_path
from switchboard_sidecar.roster import DEFAULT_TIMEOUT_MS
from switchboard_wire.calls import IncomingCall, Payload
from switchboard_wire.errors import ErrorValue, SwitchboardError
from switchboard_wire.limits import DEFAULT_MAX_PAYLOAD_BYTES, MAX_DATA_BYTES
from switchboard_wire.peer import Peer, local_pair
from switchboard_wire.v1 import frames_pb2 as pb

log = logging.getLogger("sidecar.http")

# Servers close idle connections after 5 s (uvicorn) or more; a request on one that is being closed is lost
KEEPALIVE_S: Final = 2.0
# The port is this pod's own: a server that takes no connection by then has too many that wait
CONNECT_S: Final = 5.0
# A larger response is never held as a whole
WHOLE_BYTES: Final = 1024 * 1024
_EXCERPT_BYTES: Final = 512

Answers = Callable[[str, Peer | None, str], None]  # agent, where its calls go when it is well, else why it is not


class HttpHosts:
    """The HTTP agents of this instance. answers: told with each change of whether a server is well."""

    def __init__(self, answers: Answers, namespace: str) -> None:
        self._answers = answers
        self._namespace = namespace
        self._hosts: dict[str, HttpHost] = {}
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEPALIVE_S),  # admission is the limit
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S),
            cookie_jar=aiohttp.DummyCookieJar(),  # one caller's cookies must not reach the next
            headers={"Accept-Encoding": "identity", "User-Agent": "switchboard-sidecar"},  # bytes pass as they are
            auto_decompress=False,
        )

    def update(self, assignments: pb.Assignments) -> None:
        """Begin with new agents, follow changed ones, leave removed ones (calls inside them go on)."""
        wanted = {agent.name or agent.type: agent for agent in assignments.agents if agent.HasField("http")}
        for name in self._hosts.keys() - wanted.keys():
            self._hosts.pop(name).stop()
            self._answers(name, None, "it is not assigned any more")
        for name, agent in wanted.items():
            host = self._hosts.get(name)
            if host is not None and host.assignment.http.port == agent.http.port:
                host.assignment = agent
                continue
            if host is not None:
                host.stop()
                self._answers(name, None, "it is not assigned any more")
            self._hosts[name] = HttpHost(agent, self._session, self._namespace)
            self._hosts[name].start(self._answers)

    async def close(self) -> None:
        """Abort every request."""
        for host in self._hosts.values():
            host.stop()
            await host.abort()
        await self._session.close()


class HttpHost:
    """One server. `peer` is the end on which its calls are opened."""

    def __init__(self, assignment: pb.Assignment, session: aiohttp.ClientSession, namespace: str) -> None:
        self.assignment = assignment
        self._session = session
        self._namespace = namespace
        self._tasks: set[asyncio.Task[None]] = set()
        self._probe: asyncio.Task[None] | None = None
        self.peer, _ = local_pair(_Nobody(), self, label=f"port {assignment.http.port}")

    def start(self, answers: Answers) -> None:
        def tell(fault: str) -> None:
            answers(self.assignment.name or self.assignment.type, None if fault else self.peer, fault)

        self._probe = asyncio.create_task(watch(self._session, self._place, tell))

    def _place(self) -> tuple[int, str]:
        http = self.assignment.http
        return http.port, http.health_path

    def stop(self) -> None:
        """Look at the server no more."""
        if self._probe is not None:
            self._probe.cancel()

    async def abort(self) -> None:
        """End every request that runs."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def on_open(self, peer: Peer, frame: pb.Frame) -> None:
        task: asyncio.Task[None] | None = None

        def abort() -> None:
            if task is not None:
                task.cancel()

        call = IncomingCall(peer, frame, on_cancel=abort)
        task = asyncio.create_task(self._serve(call))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def on_control(self, peer: Peer, frame: pb.Frame) -> None:
        """A local pair has none."""

    def on_lost(self, peer: Peer) -> None:
        """A local pair is never lost."""

    async def _serve(self, call: IncomingCall) -> None:
        request = _Request()
        try:
            await self._post(call, request)
        except SwitchboardError as error:
            call.fail(error.error)
        except aiohttp.ConnectionTimeoutError:  # a TimeoutError, too
            call.fail(ErrorValue(pb.NODE_UNAVAILABLE, f"the server's port took no connection within {CONNECT_S:g} s"))
        except TimeoutError:
            call.fail(request.too_late())
        except aiohttp.ClientConnectorError as error:
            call.fail(ErrorValue(pb.NODE_UNAVAILABLE, f"the server's port refused the connection: {error.strerror}"))
        except (aiohttp.ClientError, OSError) as error:
            why = f"the server broke the connection: {type(error).__name__}"
            call.fail(ErrorValue(pb.NODE_UNAVAILABLE, why, delivered=pb.DELIVERED_MAYBE))
        finally:
            # A bug here must not leave the call without an end; `fail` does nothing after one
            call.fail(ErrorValue(pb.INTERNAL_ERROR, "the call was not answered", delivered=request.delivered))

    async def _post(self, call: IncomingCall, request: "_Request") -> None:
        assignment, open_ = self.assignment, call.first.open
        limit = assignment.max_payload_bytes or DEFAULT_MAX_PAYLOAD_BYTES
        remaining_ms = open_.deadline_ms or assignment.timeout_ms or DEFAULT_TIMEOUT_MS
        url = f"http://{ADDRESS}:{assignment.http.port}{url_path(assignment)}"
        began = time.monotonic()
        async with asyncio.timeout(remaining_ms / 1000):
            body = await call.body(limit)
            headers = request_headers(call.first, assignment, self._namespace, remaining_ms)
            data = _Body(body, request)
            async with self._session.post(url, data=data, headers=headers, allow_redirects=False) as response:
                if response.status // 100 != 2:
                    excerpt = (await response.content.read(_EXCERPT_BYTES)).decode("utf-8", "replace")
                    raise SwitchboardError(error_of(response.status, response.headers, excerpt))
                payload = await _answer(call, response)
                told = response_headers(response.headers)
        await call.close(payload, processing_us=int((time.monotonic() - began) * 1e6), headers=told)


class _Nobody:
    """Owner of the sidecar's end of a local pair: an HTTP server opens no calls."""

    def on_open(self, peer: Peer, frame: pb.Frame) -> None:
        raise AssertionError("an HTTP server opens no calls")

    def on_control(self, peer: Peer, frame: pb.Frame) -> None:
        """There is none."""

    def on_lost(self, peer: Peer) -> None:
        """It is never lost."""


async def _answer(call: IncomingCall, response: aiohttp.ClientResponse) -> Payload:
    """The response's body: whole when its length is known and small, else in pieces as they come, within the credit.

    JSON is one value however it comes: in full frames, which say that more follows, and the rest.
    """
    content_type = response.headers.get("Content-Type", "")
    if response.content_length is not None and response.content_length <= WHOLE_BYTES:
        return Payload(await response.read(), content_type)
    if not is_json(content_type):
        async for piece in response.content.iter_any():
            await call.send(piece, content_type)
        return Payload(b"", content_type)
    held = bytearray()
    async for piece in response.content.iter_any():
        held += piece
        while len(held) > MAX_DATA_BYTES:
            await call.send(bytes(held[:MAX_DATA_BYTES]), content_type)
            del held[:MAX_DATA_BYTES]
    return Payload(bytes(held), content_type)


class _Request:
    """How far one call has come. delivered: not before there is a connection, on which the request goes out."""

    __slots__ = ("delivered",)

    def __init__(self) -> None:
        self.delivered: int = pb.DELIVERED_NO

    def too_late(self) -> ErrorValue:
        message = "the server did not answer before the deadline"
        if self.delivered == pb.DELIVERED_NO:
            message = "the deadline passed before the request could be sent"
        return ErrorValue(pb.DEADLINE_EXCEEDED, message, delivered=self.delivered)


class _Body(aiohttp.BytesPayload):
    """The body of a request, which notes that it is written: aiohttp does that as soon as it has a connection."""

    def __init__(self, data: bytes, request: _Request) -> None:
        super().__init__(data)
        self._request = request

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        self._request.delivered = pb.DELIVERED_YES
        await super().write_with_length(writer, content_length)
