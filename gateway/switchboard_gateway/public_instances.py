"""ListInstances: the live registry, asked of whichever replica of the operator answers. The gateway adds nothing."""

from typing import Any

import grpc
from google.protobuf.message import DecodeError

from switchboard_gateway.access.shells import Doorway
from switchboard_gateway.core import Core
from switchboard_gateway.public_answers import abort, token_of, whole
from switchboard_wire.errors import SwitchboardError
from switchboard_wire.v1.instances_pb2 import InstanceQuery


class InstancesApi:
    """The handler; raw bytes in and out."""

    def __init__(self, core: Core, doorway: Doorway) -> None:
        self._core = core
        self._doorway = doorway

    def methods(self) -> dict[str, Any]:
        """Handlers by the name of their method."""
        return {"ListInstances": grpc.unary_unary_rpc_method_handler(self._list)}

    async def _list(self, data: bytes, context: Any) -> bytes:
        try:
            query = InstanceQuery.FromString(data)
        except DecodeError:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "not an InstanceQuery")
        try:
            await self._doorway.may_list_instances(token_of(context), query.namespace)
            return whole(await self._core.ask_registry(query), "narrow the query, or set a limit")
        except SwitchboardError as error:
            await abort(context, error.error)
