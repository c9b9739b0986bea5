"""Streams to the operator's replicas: hello, heartbeats at the pace they ask for, assignments in return.

No message depends on them: without an operator the instance serves what its assignments file says.
"""

import asyncio
import logging
from random import Random
from typing import Final, Protocol

from switchboard_wire.errors import name_of
from switchboard_wire.internal_v1 import registry_pb2
from switchboard_wire.registry_http2 import Http2Line, http2_dial
from switchboard_wire.registry_line import Line, Lines
from switchboard_wire.security import PLAIN, Dialling
from switchboard_wire.together import first_end
from switchboard_wire.v1 import frames_pb2 as pb

log = logging.getLogger("sidecar.registry")

# Until the operator says its own
FIRST_INTERVAL_S: Final = 2.0
# Heartbeats spread over a tenth of the interval, so that a thousand sidecars started together drift apart
JITTER: Final = 0.1


class RegistryOwner(Protocol):
    """What the registry streams ask of the sidecar, and tell it."""

    def hello(self) -> pb.Hello:
        """Who this instance is, with a fresh token."""

    def heartbeat(self) -> registry_pb2.Heartbeat:
        """The state of this moment; the number is set by the stream."""

    def apply(self, assignments: pb.Assignments) -> None:
        """An operator sent assignments: they count if they are newer."""


class Registry:
    """All registry streams. `poke` sends a heartbeat at once on each."""

    def __init__(self, owner: RegistryOwner, rng: Random, dialling: Dialling = PLAIN) -> None:
        self._lines: Lines[Http2Line, _Stream] = Lines(
            http2_dial(dialling), lambda line: _Stream(owner, rng, line), log
        )
        self.connect = self._lines.connect

    @property
    def live(self) -> int:
        return sum(stream.registered for stream in self._lines.live)

    def poke(self) -> None:
        """The state changed: every operator hears of it now."""
        for stream in self._lines.live:
            stream.poked.set()

    def authenticate(self, token: str) -> None:
        """Show a fresh token on every stream."""
        for stream in self._lines.live:
            stream.token = token
            stream.poked.set()


class _Stream:
    """One stream to one operator replica."""

    def __init__(self, owner: RegistryOwner, rng: Random, line: Line) -> None:
        self._owner = owner
        self._rng = rng
        self._line = line
        self._interval_s = FIRST_INTERVAL_S
        self.registered = False
        self.poked = asyncio.Event()
        self.token = ""

    async def run(self) -> str:
        """Read and write until one of them ends; returns why."""
        error = await first_end(self._read(), self._write())
        if error is not None and not isinstance(error, OSError):
            raise error
        return str(error or "closed by the operator")

    async def _read(self) -> None:
        address = self._line.address
        async for directive in self._line.directives():
            if directive.HasField("registered"):
                self.registered = True
                self._interval_s = directive.registered.heartbeat_interval_ms / 1000 or FIRST_INTERVAL_S
                log.info("registered", extra={"address": address, "operator": directive.registered.operator})
            if directive.HasField("assignments"):
                self._owner.apply(directive.assignments)
            if directive.HasField("refused"):
                error = directive.refused
                log.error("refused", extra={"address": address, "code": name_of(error.code), "why": error.message})
                return

    async def _write(self) -> None:
        hello = self._owner.hello()
        await self._line.write(registry_pb2.Report(hello=hello))
        number, said = 0, hello.hosted
        while True:
            self.poked.clear()
            if self.token:
                token, self.token = self.token, ""
                await self._line.write(registry_pb2.Report(auth=pb.Auth(token=token)))
            number += 1
            heartbeat = self._owner.heartbeat()
            heartbeat.number = number
            # It hardly ever changes, and of a hundred agents it is a hundred times the rest
            if heartbeat.hosted == said:
                heartbeat.ClearField("hosted")
            else:
                said = heartbeat.hosted
            await self._line.write(registry_pb2.Report(heartbeat=heartbeat))
            await self._pause()

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(self._interval_s * self._rng.uniform(1 - JITTER, 1)):
                await self.poked.wait()
        except TimeoutError:
            return
