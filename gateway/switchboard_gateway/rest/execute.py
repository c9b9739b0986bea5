"""POST …/execute and …/publish: one request becomes one call, and its answer one response, plain or streamed."""

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from switchboard_gateway.access.rights import bearer
from switchboard_gateway.access.shells import Doorway
from switchboard_gateway.core import Core
from switchboard_gateway.rest import answers, bodies, cloud_events
from switchboard_gateway.rest.answers import Answer
from switchboard_gateway.rest.json_body import JSON, invalid
from switchboard_gateway.rest.limits import RestLimits
from switchboard_gateway.rest.request_headers import apply_headers, read_metadata, wants_events
from switchboard_gateway.rest.streaming import stream_events, stream_raw
from switchboard_gateway.rest.targets import apply_target, new_message_id, opened_to_many
from switchboard_gateway.rest.whole import Gathering, apply_body, to_body
from switchboard_wire.calls import OutgoingCall, Payload, new_open, raise_for
from switchboard_wire.errors import SwitchboardError, failure
from switchboard_wire.limits import MAX_DATA_BYTES
from switchboard_wire.peer import Peer
from switchboard_wire.v1 import frames_pb2 as pb

_FORM: Final = "application/x-www-form-urlencoded"


@dataclass(frozen=True, slots=True)
class Request:
    """What the handler makes of an HTTP request. complete: the first payload is all of it."""

    opened: pb.Open
    first: Payload
    complete: bool
    is_json: bool


class Executions:
    """The handlers. doorway: the way into the core, for whoever may call. buffered: what is kept of all requests."""

    def __init__(self, core: Core, limits: RestLimits, doorway: Doorway, buffered: bodies.Buffered) -> None:
        self._core = core
        self._limits = limits
        self._doorway = doorway
        self._buffered = buffered

    async def execute(self, request: web.Request) -> web.StreamResponse:
        """Serve one execution. Raises SwitchboardError for every failure before the answer has begun."""
        opened = pb.Open(message_id=new_message_id())
        apply_target(request.match_info, request.query if request.query_string else {}, opened)
        apply_headers(request.headers, opened)
        peer = self._doorway.everybody or await self._admit(request, opened.target)
        limit = bodies.payload_limit(self._core, opened.target)
        with self._buffered.share() as share:
            given = await self._read(request, opened, limit, share)
            return await self._answer(request, Call(peer, given), given, share)

    async def _admit(self, request: web.Request, target: pb.Target) -> Peer:
        """The peer of a client that may make the call: known before its body is read. Raises SwitchboardError."""
        token = bearer(request.headers.get("Authorization", ""))
        await self._doorway.may_call(token, target)
        return await self._doorway.peer(token)

    async def _read(self, request: web.Request, opened: pb.Open, limit: int, share: bodies.Share) -> Request:
        kind = request.content_type if "Content-Type" in request.headers else answers.BYTES
        if opened.target.topic:
            if kind == cloud_events.STRUCTURED:
                body = await bodies.read_json(request, self._limits.most_json(limit), self._limits, share)
                return Request(opened, cloud_events.apply_structured(body, opened), complete=True, is_json=True)
            if kind == cloud_events.BATCHED:
                raise invalid("one event per request: send each of the batch on its own")
            if cloud_events.SPECVERSION in request.headers:
                cloud_events.apply_binary(request.headers.items(), opened)
                return await self._read_raw(request, opened, limit)
        if kind == JSON:
            return await self._read_json(request, opened, limit, share)
        return await self._read_raw(request, opened, limit)

    async def _answer(
        self, request: web.Request, call: "Call", given: Request, share: bodies.Share
    ) -> web.StreamResponse:
        try:
            if not call.is_sent:
                call.upload(_upload(request, call.outgoing, given, self._limits))
            if not opened_to_many(given.opened):
                if wants_events(request.headers.get("Accept", "")):
                    return await stream_events(request, call, self._limits)
                if not given.is_json:
                    return await stream_raw(request, call)
            close = await call.whole(Gathering(share, self._limits.answer_bytes))
            return web.Response(body=to_body(call.opened, close), content_type=JSON)
        finally:
            await call.leave()

    async def _read_json(self, request: web.Request, opened: pb.Open, limit: int, share: bodies.Share) -> Request:
        body = await bodies.read_json(request, self._limits.most_json(limit), self._limits, share)
        return Request(opened, apply_body(body, opened), complete=True, is_json=True)

    async def _read_raw(self, request: web.Request, opened: pb.Open, limit: int) -> Request:
        length = request.content_length
        if length is not None and length > limit:
            raise failure(pb.PAYLOAD_TOO_LARGE, f"the payload is over {limit} bytes, the Agent's maxPayloadBytes")
        opened.headers.update(read_metadata(request.headers.items()))
        first, complete = await bodies.read_first(request, self._limits)
        if request.content_type == _FORM and first.startswith(b"{"):
            raise invalid(f"the body looks like JSON and its Content-Type is {_FORM}: say Content-Type: {JSON}")
        content_type = request.headers.get("Content-Type", answers.BYTES)
        if not content_type.isprintable():
            raise invalid("Content-Type must be printable text")
        return Request(opened, Payload(first, content_type), complete, is_json=False)


async def _upload(request: web.Request, call: OutgoingCall, given: Request, limits: RestLimits) -> None:
    left = given.first.data[MAX_DATA_BYTES:]
    if left or given.complete:
        await call.send(left, end=given.complete)
    if not given.complete:
        await bodies.send_rest(request, call, limits)


class Call:
    """An outgoing call as the responses see it. is_sent: its first frame holds the whole request."""

    __slots__ = ("_frame", "_upload", "is_sent", "outgoing")

    def __init__(self, peer: Peer, given: Request) -> None:
        self._frame = new_open(given.opened, given.first, end=given.complete)
        self._upload: asyncio.Task[None] | None = None
        self.is_sent = self._frame.end
        self.outgoing = OutgoingCall(peer, self._frame)

    def upload(self, rest: Coroutine[None, None, None]) -> None:
        """Send what is left of the request while the answer may already come."""
        self._upload = asyncio.create_task(rest)

    async def leave(self) -> None:
        """Cancel what is not over. Safe at any time."""
        self.outgoing.cancel()
        if self._upload is not None:
            self._upload.cancel()
            await asyncio.wait([self._upload])

    @property
    def opened(self) -> pb.Open:
        return self._frame.open

    @property
    def message_id(self) -> str:
        return self._frame.open.message_id

    @property
    def agent(self) -> str:
        """The Agent that was chosen; known once the answer begins."""
        return self._frame.open.agent

    async def pieces(self) -> AsyncGenerator[pb.Frame, None]:
        """The answer's DATA frames. Raises SwitchboardError: the call's, or what was wrong with the request's body."""
        try:
            async for frame in self.outgoing.pieces():
                yield frame
        except SwitchboardError:
            self._raise_of_upload()
            raise

    async def whole(self, gathering: Gathering) -> pb.Frame:
        """The end of the call with all of the answer. Raises SwitchboardError."""
        try:
            close = await self.outgoing.gather(gathering.take)
        except SwitchboardError:
            self._raise_of_upload()
            raise
        return gathering.join(close)

    async def end(self) -> Answer:
        """The end of the answer, with what the last frame brought. Raises SwitchboardError."""
        close = await self.outgoing.closed
        raise_for(close)
        return Answer(self.message_id, self.agent, close)

    def _raise_of_upload(self) -> None:
        upload = self._upload
        if upload is not None and upload.done() and not upload.cancelled() and (error := upload.exception()):
            raise error
