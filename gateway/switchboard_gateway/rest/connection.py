"""One client's connection, guarded: how many there may be, and how slow one may be."""

import asyncio
import logging
from typing import Any

from aiohttp import web
from aiohttp.http import RawRequestMessage

from switchboard_gateway.rest.direct import DirectCall, Lane
from switchboard_gateway.rest.limits import RestLimits
from switchboard_gateway.rest.problems import FAILED, PROBLEM, Problem, to_problem
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
    with a problem instead of a log line per request. A plain request that comes while nothing else is under way goes
    down the lane; aiohttp's task hears nothing of it, and finds the connection as after an answer of its own.
    """

    __slots__ = ("_call", "_door", "_lane", "_parked", "_silence", "_stall", "is_inside")

    def __init__(self, server: web.Server, door: Door, lane: Lane, loop: asyncio.AbstractEventLoop) -> None:
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
        self._lane = lane
        self._call: DirectCall | None = None
        self._parked: asyncio.Future[None] | None = None  # what aiohttp's task awaits, while the lane has a request
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
        call, self._call = self._call, None
        if call is not None:
            call.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        waiter = self._waiter
        if waiter is None or waiter.done():  # a request is under way, or on its way to aiohttp's task
            super().data_received(data)
            return
        self._waiter = None  # the task is not woken before it is known whose the request is
        try:
            super().data_received(data)
        finally:
            self._waiter = waiter
        if self._messages and not self._goes_direct(waiter):
            waiter.set_result(None)

    def _goes_direct(self, waiter: "asyncio.Future[None]") -> bool:
        """Whether the lane has taken what has come."""
        message, body = self._messages[0]
        if len(self._messages) > 1 or self._upgraded or self._paused or not isinstance(message, RawRequestMessage):
            return False
        plain = self._lane.look(message, body)
        if plain is None:
            return False
        assert self._parser is not None  # nothing comes on a connection that is lost
        assert self._manager is not None
        self._messages.clear()
        self._parser.message_consumed()
        self._manager.requests_count += 1
        self._parked, self._waiter = waiter, None  # busy, as far as aiohttp sees
        self._request_in_progress = True
        self.request_began()
        self._call = self._lane.serve(plain, body.read_nowait(), self._answered)
        return True

    def _answered(self, answer: bytes, closes: bool) -> None:
        """The lane has the answer: write it, and go on as aiohttp does after one."""
        self._call = None
        self._request_in_progress = False
        self.request_ended()
        if self.transport is not None:
            self.transport.write(answer)
        stopping = self._handler_waiter  # whoever stops the server waits for the end of what is under way
        if stopping is not None and not stopping.done():
            stopping.set_result(None)
        waiter, self._parked = self._parked, None
        self._waiter = waiter
        if closes or self._close or self._force_close:
            self.force_close()
            return
        self._next_keepalive_close_time = closing = self._loop.time() + self._keepalive_timeout
        if self._keepalive_handle is None:
            self._keepalive_handle = self._loop.call_at(closing, self._process_keepalive)
        if self._messages and waiter is not None and not waiter.done():
            waiter.set_result(None)

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
            error = FAILED
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
