"""A stream of the Registry on a gRPC channel, which answers questions too: a gateway's."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

from grpc import aio

from switchboard_wire import names
from switchboard_wire.internal_v1.registry_pb2 import Directive, Report
from switchboard_wire.limits import REGISTRY_CHANNEL_OPTIONS
from switchboard_wire.security import Dialling

_EOF: Final[Any] = aio.EOF  # type: ignore[attr-defined]


class GrpcLine:
    """A stream to one replica of the operator, and its channel for questions. address: that was dialled."""

    def __init__(self, address: str, channel: Any) -> None:
        self.address, self.channel = address, channel
        self.call: Any = channel.stream_stream(
            names.REGISTRY_METHOD,
            request_serializer=Report.SerializeToString,
            response_deserializer=Directive.FromString,
        )()

    async def write(self, report: Report) -> None:
        """Say something, when the other end has room for it. Raises what grpc raises when the stream is lost."""
        await self.call.write(report)

    async def directives(self) -> AsyncIterator[Directive]:
        """What the operator says until it ends the stream. Raises what grpc raises when it is lost."""
        while (directive := await self.call.read()) is not _EOF:
            yield directive

    async def close(self) -> None:
        self.call.cancel()
        await self.channel.close()


def grpc_dial(dialling: Dialling) -> Callable[[str], Awaitable[GrpcLine]]:
    """How a line to an address is opened. It raises NoTrustYet; that nobody answers shows when the line is used."""

    async def dial(address: str) -> GrpcLine:
        return GrpcLine(address, dialling.open_channel(address, names.REGISTRY_SERVICE, REGISTRY_CHANNEL_OPTIONS))

    return dial
