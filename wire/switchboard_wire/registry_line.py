"""The dialling end of the Registry's streams, of sidecars and gateways alike, whatever carries them."""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Generic, Protocol, TypeVar

from switchboard_wire.internal_v1.registry_pb2 import Directive, Report
from switchboard_wire.security import NoTrustYet


class Line(Protocol):
    """A stream to one replica of the operator. address: that was dialled."""

    address: str

    async def write(self, report: Report) -> None:
        """Say something, when the other end has room for it. Raises OSError or what grpc raises when it is lost."""

    def directives(self) -> AsyncIterator[Directive]:
        """What the operator says until it ends the stream. Raises OSError or what grpc raises when it is lost."""
        ...

    async def close(self) -> None:
        """End the stream, if it has not ended."""


class Holding(Protocol):
    """What becomes of a line. registered: the operator has taken it."""

    registered: bool

    async def run(self) -> str:
        """Read and write until the line ends; returns why."""
        ...


Dialled = TypeVar("Dialled", bound=Line)
Held = TypeVar("Held", bound=Holding)


class Lines(Generic[Dialled, Held]):
    """The lines to all replicas. dial: opens one to an address; raises OSError. begin: what to do with a new one."""

    def __init__(
        self, dial: Callable[[str], Awaitable[Dialled]], begin: Callable[[Dialled], Held], log: logging.Logger
    ) -> None:
        self._dial, self._begin, self._log = dial, begin, log
        self.live: set[Held] = set()

    async def connect(self, address: str) -> bool:
        """Hold one line until it breaks. True when the operator had taken it."""
        try:
            line = await self._dial(address)
        except NoTrustYet as error:
            self._log.info("registry not dialled", extra={"address": address, "reason": str(error)})
            return False
        except OSError as error:
            self._log.debug("registry not reached", extra={"address": address, "reason": str(error)})
            return False
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
