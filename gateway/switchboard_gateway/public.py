"""The public gRPC methods for clients without the SDK, as shells over the core; sessions are next door."""

import secrets
from collections.abc import AsyncIterator
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from switchboard.answers import join_pieces
from switchboard_gateway.access.guard import Guard
from switchboard_gateway.access.shells import Doorway
from switchboard_gateway.callers import sign
from switchboard_gateway.core import Core
from switchboard_gateway.public_answers import abort, token_of, whole
from switchboard_gateway.public_instances import InstancesApi
from switchboard_gateway.public_listing import ListingApi
from switchboard_gateway.sessions import Sessions
from switchboard_wire.calls import OutgoingCall, Payload, new_open
from switchboard_wire.errors import SwitchboardError
from switchboard_wire.limits import MAX_DATA_BYTES
from switchboard_wire.peer import Peer
from switchboard_wire.v1 import frames_pb2 as pb
from switchboard_wire.v1 import gateway_pb2 as api


class PublicApi:
    """Handlers of service switchboard.v1.Gateway; raw bytes in and out. guard: None: no tokens are asked for."""

    def __init__(self, core: Core, sessions: Sessions, guard: Guard | None = None) -> None:
        self._doorway = Doorway(core, guard, "grpc")
        self._listing = ListingApi(core, self._doorway)
        self._instances = InstancesApi(core, self._doorway)
        self._sessions = sessions
        self._prefix = f"{secrets.token_hex(8)}-"  # message ids of clients that give none
        self._counter = 0

    def handler(self) -> Any:
        """The service, ready to be added to a server."""
        return grpc.method_handlers_generic_handler(
            "switchboard.v1.Gateway",
            {
                "Session": grpc.stream_stream_rpc_method_handler(self._sessions.over_grpc),
                "Request": grpc.unary_unary_rpc_method_handler(self._request),
                "Stream": grpc.unary_stream_rpc_method_handler(self._stream),
                **self._listing.methods(),
                **self._instances.methods(),
            },
        )

    async def _request(self, data: bytes, context: Any) -> bytes:
        peer = self._doorway.everybody or await self._peer(context)
        frame, rest = self._open_frame(await _read(data, context), context)
        call = OutgoingCall(peer, frame)
        try:
            if rest:
                await call.send(rest, end=True)
            pieces: list[pb.Frame] = []
            close = await call.gather(pieces.append)
            answer = _answer(join_pieces(pieces, close) if pieces else close, frame.open)
            return whole(answer, "call Stream for its pieces")
        except SwitchboardError as error:
            await abort(context, error.error)
        finally:
            call.cancel()

    async def _stream(self, data: bytes, context: Any) -> AsyncIterator[bytes]:
        peer = self._doorway.everybody or await self._peer(context)
        frame, rest = self._open_frame(await _read(data, context), context)
        call = OutgoingCall(peer, frame)
        try:
            if rest:
                await call.send(rest, end=True)
            async for piece in call.pieces():
                yield api.Answer(data=piece.data, content_type=piece.content_type).SerializeToString()
            yield _answer(await call.closed, frame.open).SerializeToString()
        except SwitchboardError as error:
            await abort(context, error.error)
        finally:
            call.cancel()

    async def _peer(self, context: Any) -> Peer:
        try:
            return await self._doorway.peer(token_of(context))
        except SwitchboardError as error:
            await abort(context, error.error)

    def _open_frame(self, message: api.Message, context: Any) -> tuple[pb.Frame, bytes]:
        """The OPEN of a message, on which the core notes the Agent, and what of the payload did not fit in it."""
        opened = message.open
        sign(opened)
        remaining = context.time_remaining()
        if remaining is not None and (not opened.deadline_ms or remaining * 1000 < opened.deadline_ms):
            opened.deadline_ms = max(1, int(remaining * 1000))
        if not opened.message_id:
            self._counter += 1
            opened.message_id = f"{self._prefix}{self._counter}"
        payload = Payload(message.data, message.content_type, message.data_type)
        return new_open(opened, payload, end=True), payload.data[MAX_DATA_BYTES:]


async def _read(data: bytes, context: Any) -> api.Message:
    try:
        return api.Message.FromString(data)
    except DecodeError:
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "not a switchboard.v1.Message")
        raise


def _answer(close: pb.Frame, opened: pb.Open) -> api.Answer:
    return api.Answer(
        data=close.data,
        content_type=close.content_type,
        data_type=close.data_type,
        agent=opened.agent,
        instance=close.instance,
        processing_us=close.processing_us,
        headers=close.headers,
        message_id=opened.message_id,
    )
