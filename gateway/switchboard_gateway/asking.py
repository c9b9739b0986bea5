"""Whom the gateway asks for what only the registry knows."""

from collections.abc import Awaitable, Callable

from switchboard_wire.errors import failure
from switchboard_wire.v1 import frames_pb2 as pb
from switchboard_wire.v1.instances_pb2 import InstanceList, InstanceQuery

AskRegistry = Callable[[InstanceQuery], Awaitable[InstanceList]]


async def nobody_to_ask(query: InstanceQuery) -> InstanceList:
    """A gateway without operators: `switchboard dev`, or all of them are away. Raises Unavailable."""
    raise failure(
        pb.NODE_UNAVAILABLE,
        "no operator is connected to this gateway, and the registry is theirs; "
        "`switchboard describe TYPE` shows what the gateway itself knows",
    )
