"""The direct lane: a plain execution with a JSON body, from aiohttp's parser to the core and back without a task.

It takes what comes as a whole and needs nobody's word: every other request, and every one that is wrong before its
body is read, takes aiohttp's ordinary way. Both use the same functions for what a request says and what an answer is.
"""

import logging
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from aiohttp import HttpVersion11

from switchboard_gateway.access.rights import bearer
from switchboard_gateway.access.shells import Doorway
from switchboard_gateway.core import Core
from switchboard_gateway.rest import bodies
from switchboard_gateway.rest.json_body import JSON
from switchboard_gateway.rest.limits import RestLimits
from switchboard_gateway.rest.problems import FAILED, to_problem
from switchboard_gateway.rest.request_headers import apply_headers, wants_events
from switchboard_gateway.rest.responses import Dates, write_json, write_problem
from switchboard_gateway.rest.targets import apply_target, new_message_id
from switchboard_gateway.rest.whole import Gathering, apply_body, to_body
from switchboard_wire.calls import raise_for
from switchboard_wire.directions import Receiver
from switchboard_wire.errors import ErrorValue, SwitchboardError, close_with
from switchboard_wire.peer import Peer
from switchboard_wire.v1 import frames_pb2 as pb

log = logging.getLogger("switchboard.gateway.rest")

# Words that mean what they say: a path with any other character goes where paths are decoded
_WORD: Final = r"[A-Za-z0-9][A-Za-z0-9._-]*"
_PATH: Final = re.compile(rf"/api/v1(?:/namespaces/({_WORD}))?/(agents|capabilities)/({_WORD})/execute")
_PLACES: Final = {"agents": "agent", "capabilities": "capability"}
_KINDS: Final = frozenset({JSON, f"{JSON}; charset=utf-8"})

# Called with the whole answer, once, and whether the connection ends with it
Answered = Callable[[bytes, bool], None]


class Plain(NamedTuple):
    """A request that takes the lane: its call but for the body, and where that is opened."""

    peer: Peer
    frame: pb.Frame


class Lane:
    """Serves plain requests. buffered: what is kept of all requests, of the other way too."""

    __slots__ = ("_buffered", "_core", "_dates", "_doorway", "_limits")

    def __init__(self, core: Core, limits: RestLimits, doorway: Doorway, buffered: bodies.Buffered) -> None:
        self._core = core
        self._limits = limits
        self._doorway = doorway
        self._buffered = buffered
        self._dates = Dates()

    def fits(self, message: Any) -> re.Match[str] | None:
        """The path of a request that may be plain, as far as its head tells; None when it is for the ordinary way.

        message: a RawRequestMessage, for which aiohttp has two classes: the one in C is no tuple, as its types say.
        """
        if (
            message.method != "POST"
            or message.should_close
            or message.version != HttpVersion11
            or message.chunked
            or message.compression
            or message.upgrade
        ):
            return None
        headers = message.headers
        if headers.get("Content-Type") not in _KINDS or "Expect" in headers:
            return None
        if not 0 < int(headers.get("Content-Length", "0")) <= self._limits.direct_bytes:
            return None
        accept = headers.get("Accept")
        if accept is not None and wants_events(accept):
            return None
        return _PATH.fullmatch(message.path.partition("?")[0])

    def look(self, message: Any, path: re.Match[str]) -> Plain | None:
        """A request whose body is there as the lane takes it, or None. Nothing has happened then."""
        try:
            return self._plain(message.headers, path, message.url.query if "?" in message.path else {})
        except SwitchboardError:  # the ordinary way refuses it
            return None
        except Exception:  # the ordinary way meets it as well, and answers it
            log.exception("request failed before its body was read")
            return None

    def _plain(self, headers: Mapping[str, str], path: re.Match[str], query: Mapping[str, str]) -> Plain | None:
        frame = pb.Frame(kind=pb.OPEN, end=True)
        opened, doorway = frame.open, self._doorway
        apply_target(_names(path), query, opened)
        apply_headers(headers, opened)
        peer = doorway.everybody or doorway.recall(bearer(headers.get("Authorization", "")), opened.target)
        limit = self._limits.most_json(bodies.payload_limit(self._core, opened.target))
        return None if peer is None or int(headers["Content-Length"]) > limit else Plain(peer, frame)

    def serve(self, plain: Plain, body: bytes, answered: Answered) -> "DirectCall | None":
        """Make the call of a plain request; None when it was answered at once."""
        frame, share = plain.frame, self._buffered.share()
        opened = frame.open
        try:
            share.add(len(body))
            opened.message_id = new_message_id()
            payload = apply_body(body, opened)
            frame.data = payload.data
            frame.content_type = payload.content_type
        except SwitchboardError as error:
            share.end()
            answered(*self.problem(error.error))
            return None
        return DirectCall(self, plain, Gathering(share, self._limits.answer_bytes), answered)

    def answer(self, opened: pb.Open, close: pb.Frame) -> tuple[bytes, bool]:
        """What `Answered` is told of a call. Raises SwitchboardError: the call's."""
        raise_for(close)
        closes = self._core.leaving
        return write_json(to_body(opened, close), self._dates.now(), closes=closes), closes

    def problem(self, error: ErrorValue) -> tuple[bytes, bool]:
        """What `Answered` is told of an error."""
        closes = self._core.leaving
        return write_problem(to_problem(error), self._dates.now(), closes=closes), closes


class DirectCall:
    """The call of one plain request, up to its answer."""

    __slots__ = ("_answered", "_frame", "_gathering", "_lane", "_number", "_peer", "_receiver")

    def __init__(self, lane: Lane, plain: Plain, gathering: Gathering, answered: Answered) -> None:
        self._lane = lane
        self._peer = plain.peer
        self._frame = plain.frame
        self._gathering = gathering
        self._answered = answered
        self._receiver: Receiver | None = None  # most answers are one frame
        self._number = plain.peer.open(plain.frame, self._on_frame)

    def cancel(self) -> None:
        """Nobody waits for the answer any more."""
        self._give_up()
        self._gathering.end()

    def _give_up(self) -> None:
        self._peer.send(pb.Frame(kind=pb.CANCEL, call=self._number))
        self._peer.forget(self._number)

    def _on_frame(self, frame: pb.Frame) -> None:
        kind = frame.kind
        if kind == pb.CLOSE:
            self._peer.forget(self._number)
            self._end(frame)
        elif kind == pb.DATA:
            self._take(frame)

    def _take(self, frame: pb.Frame) -> None:
        try:
            self._gathering.take(frame)
        except SwitchboardError as error:
            self._give_up()
            self._end(close_with(self._number, error.error))
            return
        if self._receiver is None:
            self._receiver = Receiver(self._peer, self._number)
        self._receiver.consume(frame)

    def _end(self, close: pb.Frame) -> None:
        lane, gathering = self._lane, self._gathering
        try:
            answer = lane.answer(self._frame.open, gathering.join(close))
        except SwitchboardError as error:
            answer = lane.problem(error.error)
        except Exception:  # the edge: what is raised here would reach nobody
            log.exception("request failed", extra={"method": "POST", "route": "execute"})
            answer = lane.problem(FAILED)
        gathering.end()
        self._answered(*answer)


def _names(found: re.Match[str]) -> dict[str, str]:
    """What a path names, as the routes do."""
    namespace, kind, name = found.groups()
    names = {_PLACES[kind]: name}
    if namespace is not None:
        names["namespace"] = namespace
    return names
