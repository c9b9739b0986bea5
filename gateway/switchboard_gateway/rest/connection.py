"""One client's connection, guarded: how many there may be, and how slow one may be."""

import asyncio
import logging
from typing import Any

from aiohttp import web

from switchboard_gateway.rest.limits import RestLimits
from switchboard_gateway.rest.problems import PROBLEM, Problem, to_problem
from switchboard_wire.errors import ErrorValue
from switchboard_wire.v1 import frames_pb2 as pb

log = logging.getLogger("switchboard.gateway.rest")


class Door:
    """Counts the connections of one server. A newcomer takes the place of the one that has been idle longest."""

    __slots__ = ("_idle", "_open", "limits")

    def __init__(self, limits: RestLimits) -> None:
        self.limits = limits
        self._open = 0
        self._idle: dict[Connection, None] = {}  # without a request, the longest first

    def enter(self, connection: "Connection") -> bool:
        """Take a connection in; False when all places are taken by requests."""
        if self._open >= self.limits.connections:
            if not self._idle:
                return False
            longest = next(iter(self._idle))
            self.leave(longest)
            longest.force_close()
        self._open += 1
        connection.is_inside = True
        self._idle[connection] = None
        return True

    def leave(self, connection: "Connection") -> None:
        """Give a place back. Safe at any time."""
        if connection.is_inside:
            connection.is_inside = False
            self._open -= 1
            self._idle.pop(connection, None)

    def busy(self, connection: "Connection") -> None:
        self._idle.pop(connection, None)

    def idle(self, connection: "Connection") -> None:
        if connection.is_inside:
            self._idle[connection] = None


class Connection(web.RequestHandler):
    """aiohttp's connection, which itself closes one that is idle, or amid the headers of a request, after keepalive_s.

    Here the first request must come sooner, a client that stops reading is cut off, and what is no HTTP is answered
    with a problem instead of a log line per request.
    """

    __slots__ = ("_door", "_silence", "_stall", "is_inside")

    def __init__(self, server: web.Server, door: Door, loop: asyncio.AbstractEventLoop) -> None:
        limits = door.limits
        options: dict[str, Any] = {
            "access_log": None,
            "keepalive_timeout": limits.keepalive_s,
            "max_line_size": limits.line_bytes,
            "max_field_size": limits.header_bytes,
            "max_headers": limits.headers,
            "lingering_time": limits.body_idle_s,
        }
        super().__init__(server, loop=loop, **options)
        self._door = door
        self.is_inside = False  # the door's own
        self._silence: asyncio.TimerHandle | None = None
        self._stall: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        assert self.transport is not None
        if not self._door.enter(self):
            self.transport.write(_FULL)
            self.force_close()
            return
        self._silence = self._loop.call_later(self._door.limits.first_request_s, self.force_close)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._door.leave(self)
        self._stop_silence()
        self._stop_stall()
        super().connection_lost(exc)

    def request_began(self) -> None:
        """A request's headers are complete."""
        self._door.busy(self)
        self._stop_silence()

    def request_ended(self) -> None:
        """Its answer is made, and about to be written."""
        self._door.idle(self)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stall = self._loop.call_later(self._door.limits.write_stall_s, self._cut_off)

    def resume_writing(self) -> None:
        self._stop_stall()
        super().resume_writing()

    def _cut_off(self) -> None:
        if self.transport is not None:
            log.debug("client does not read: connection cut off")
            self.transport.abort()

    def _stop_silence(self) -> None:
        if self._silence is not None:
            self._silence.cancel()
            self._silence = None

    def _stop_stall(self) -> None:
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what is no HTTP request, or what went wrong beneath the application."""
        if status == 400:
            log.debug("no HTTP request", extra={"reason": type(exc).__name__})
            error = ErrorValue(pb.VALIDATION_FAILED, _printable(message or "this is no HTTP request"))
        else:
            log.error("request failed beneath the application", exc_info=exc)
            error = ErrorValue(pb.INTERNAL_ERROR, "the gateway failed; its log says why")
        if request.writer.output_size > 0:
            raise ConnectionError("the answer has begun already")
        response = to_response(to_problem(error, status))
        response.force_close()
        return response


def to_response(problem: Problem) -> web.Response:
    return web.Response(status=problem.status, body=problem.body, headers=problem.headers, content_type=PROBLEM)


def _printable(text: str) -> str:
    first = text.strip().partition("\n")[0]
    return "".join(c if c.isprintable() else "?" for c in first)[:200]


def _full() -> bytes:
    error = ErrorValue(pb.OVERLOADED, "the gateway has as many connections as it may", retry_after_ms=1000)
    problem = to_problem(error, 503)
    head = f"HTTP/1.1 503 Service Unavailable\r\nContent-Type: {PROBLEM}\r\nContent-Length: {len(problem.body)}\r\n"
    return f"{head}Retry-After: 1\r\nConnection: close\r\n\r\n".encode() + problem.body


_FULL = _full()
