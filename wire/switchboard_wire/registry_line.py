"""The dialling end of the Registry's streams, of sidecars and gateways alike."""

import logging
from collections.abc import AsyncIterator, Callable
from typing import Any, Final, Generic, Protocol, TypeVar

from grpc import aio

from switchboard_wire import names
from switchboard_wire.internal_v1.registry_pb2 import Directive, Report
from switchboard_wire.limits import REGISTRY_CHANNEL_OPTIONS
from switchboard_wire.security import Dialling, NoTrustYet

_EOF: Final[Any] = aio.EOF  # type: ignore[attr-defined]


class Line:
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


class Holding(Protocol):
    """What becomes of a line. registered: the operator has taken it."""

    registered: bool

    async def run(self) -> str:
        """Read and write until the line ends; returns why."""
        ...


Held = TypeVar("Held", bound=Holding)


class Lines(Generic[Held]):
    """The lines to all replicas. begin: what to do with a new one."""

    def __init__(self, dialling: Dialling, begin: Callable[[Line], Held], log: logging.Logger) -> None:
        self._dialling, self._begin, self._log = dialling, begin, log
        self.live: set[Held] = set()

    async def connect(self, address: str) -> bool:
        """Hold one line until it breaks. True when the operator had taken it."""
        try:
            channel = self._dialling.open_channel(address, names.REGISTRY_SERVICE, REGISTRY_CHANNEL_OPTIONS)
        except NoTrustYet as error:
            self._log.info("registry not dialled", extra={"address": address, "reason": str(error)})
            return False
        line = Line(address, channel)
        held = self._begin(line)
        self.live.add(held)
        try:
            reason = await held.run()
        finally:
            self.live.discard(held)
            await line.close()
        level = logging.INFO if held.registered else logging.DEBUG
        self._log.log(level, "registry stream lost", extra={"address": address, "reason": reason})
        return held.registered
