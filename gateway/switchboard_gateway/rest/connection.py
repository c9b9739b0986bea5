"""One client's connection, guarded: how many there may be, and how slow one may be."""

import asyncio
import logging
from typing import Any, Final

from aiohttp import StreamReader, web
from aiohttp.http import RawRequestMessage

from switchboard_gateway.rest.direct import DirectCall, Lane, Plain
from switchboard_gateway.rest.limits import RestLimits
from switchboard_gateway.rest.problems import FAILED, PROBLEM, Problem, to_problem
from switchboard_wire.errors import ErrorValue
from switchboard_wire.v1 import frames_pb2 as pb

log = logging.getLogger("switchboard.gateway.rest")


# Many clients write a request's head and its body apart, and so within a moment. Whoever takes longer is aiohttp's
BODY_WAIT_S: Final = 0.1


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

    __slots__ = ("_call", "_door", "_lane", "_parked", "_rest", "_silence", "_stall", "is_inside")

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
        self._parked: asyncio.Future[None] | None = None  # what aiohttp's task awaits, while it is not to be woken
        self._rest: asyncio.TimerHandle | None = None  # while the rest of a body is on its way
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
        self._stop_rest()
        call, self._call = self._call, None
        if call is not None:
            call.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        waiter = self._waiter
        if self._parked is None and waiter is not None and not waiter.done():
            self._parked, self._waiter = waiter, None  # not woken before it is known whose the request is
        super().data_received(data)
        if self._parked is not None and not self._request_in_progress:
            self._choose()

    def _choose(self) -> None:
        """Give what has come to the lane or to aiohttp's task, or wait for the rest of a small body."""
        if len(self._messages) == 1 and not self._upgraded and not self._paused:
            message, body = self._messages[0]
            path = self._lane.fits(message) if isinstance(message, RawRequestMessage) else None
            if path is not None and not body.is_eof():
                if self._rest is None:
                    self.request_began()
                    self._rest = self._loop.call_later(BODY_WAIT_S, self._hand_over)
                return
            plain = self._lane.look(message, path) if path is not None else None
            if plain is not None:
                self._begin(plain, body)
                return
        self._hand_over()

    def _begin(self, plain: Plain, body: StreamReader) -> None:
        assert self._parser is not None  # nothing comes on a connection that is lost
        assert self._manager is not None
        self._stop_rest()
        self._messages.clear()
        self._parser.message_consumed()
        self._manager.requests_count += 1
        self._request_in_progress = True
        self.request_began()
        self._call = self._lane.serve(plain, body.read_nowait(), self._answered)

    def _hand_over(self) -> None:
        """Let aiohttp's task have what has come."""
        self._stop_rest()
        waiter, self._parked = self._parked, None
        self._waiter = waiter
        if self._messages and waiter is not None and not waiter.done():
            waiter.set_result(None)

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
        if closes or self._close or self._force_close:
            self._waiter, self._parked = self._parked, None
            self.force_close()
            return
        self._next_keepalive_close_time = closing = self._loop.time() + self._keepalive_timeout
        if self._keepalive_handle is None:
            self._keepalive_handle = self._loop.call_at(closing, self._process_keepalive)
        self._hand_over()

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

    def _stop_rest(self) -> None:
        if self._rest is not None:
            self._rest.cancel()
            self._rest = None

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
