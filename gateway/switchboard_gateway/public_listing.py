"""ListAgents, DescribeAgent and WatchAgents: what the gateway knows, over gRPC."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from switchboard_gateway.access.shells import Doorway
from switchboard_gateway.core import Core
from switchboard_gateway.listing import Listing, describe_type
from switchboard_gateway.public_answers import abort, token_of, whole
from switchboard_gateway.watching import Watches
from switchboard_wire.errors import SwitchboardError
from switchboard_wire.v1 import gateway_pb2 as api


class ListingApi:
    """The handlers; raw bytes in and out."""

    def __init__(self, core: Core, doorway: Doorway) -> None:
        self._core = core
        self._doorway = doorway
        self._listing = Listing(core.table)
        self._watches = Watches(core, self._listing)

    def methods(self) -> dict[str, Any]:
        """Handlers by the name of their method."""
        return {
            "ListAgents": grpc.unary_unary_rpc_method_handler(self._list),
            "DescribeAgent": grpc.unary_unary_rpc_method_handler(self._describe),
            "WatchAgents": grpc.unary_stream_rpc_method_handler(self._watch),
        }

    async def _list(self, data: bytes, context: Any) -> bytes:
        request = await _list_request(data, context)
        try:
            await self._doorway.may_list(token_of(context), request.namespace)
            found = self._listing.find(request, self._core.namespace)
            return whole(api.ListAgentsResponse(agents=found.values()), "filter, or call WatchAgents")
        except SwitchboardError as error:
            await abort(context, error.error)

    async def _describe(self, data: bytes, context: Any) -> bytes:
        try:
            request = api.DescribeAgentRequest.FromString(data)
        except DecodeError:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "not a DescribeAgentRequest")
        try:
            namespace = request.namespace or self._core.namespace
            allowed = await self._doorway.may_get(token_of(context), namespace, request.type)
            found = describe_type(self._core, namespace, request.type, allowed)
            return whole(found, "GET /api/v1/agents/{agent} has it")
        except SwitchboardError as error:
            await abort(context, error.error)

    async def _watch(self, data: bytes, context: Any) -> AsyncIterator[bytes]:
        request = await _list_request(data, context)
        token = token_of(context)
        try:
            await self._doorway.may_watch(token, request.namespace)
            async with aclosing(self._watches.updates(request)) as updates:
                async for update in updates:
                    await self._doorway.may_watch(token, request.namespace)  # it may have been taken away since
                    yield update.SerializeToString()
        except SwitchboardError as error:
            await abort(context, error.error)


async def _list_request(data: bytes, context: Any) -> api.ListAgentsRequest:
    try:
        return api.ListAgentsRequest.FromString(data)
    except DecodeError:
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "not a ListAgentsRequest")
        raise
