"""Streams to the operator's replicas: hello, heartbeats at the pace they ask for, assignments in return.

No message depends on them: without an operator the instance serves what its assignments file says.
"""

import asyncio
import logging
from random import Random
from typing import Any, Final, Protocol

from grpc import aio

from switchboard_wire import names
from switchboard_wire.errors import name_of
from switchboard_wire.internal_v1 import registry_pb2
from switchboard_wire.limits import REGISTRY_CHANNEL_OPTIONS
from switchboard_wire.security import PLAIN, Dialling, NoTrustYet
from switchboard_wire.streams import run_together
from switchboard_wire.v1 import frames_pb2 as pb

log = logging.getLogger("sidecar.registry")

_EOF: Any = aio.EOF  # type: ignore[attr-defined]
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
        self._owner = owner
        self._dialling = dialling
        self._rng = rng
        self._streams: set[_Stream] = set()

    @property
    def live(self) -> int:
        return sum(stream.registered for stream in self._streams)

    def poke(self) -> None:
        """The state changed: every operator hears of it now."""
        for stream in self._streams:
            stream.poked.set()

    def authenticate(self, token: str) -> None:
        """Show a fresh token on every stream."""
        for stream in self._streams:
            stream.token = token
            stream.poked.set()

    async def connect(self, address: str) -> bool:
        """Hold one stream until it breaks. True when the operator had registered this instance."""
        try:
            channel: Any = self._dialling.open_channel(address, names.REGISTRY_SERVICE, REGISTRY_CHANNEL_OPTIONS)
        except NoTrustYet as error:
            log.info("registry not dialled", extra={"address": address, "reason": str(error)})
            return False
        call = channel.stream_stream(
            names.REGISTRY_METHOD,
            request_serializer=registry_pb2.Report.SerializeToString,
            response_deserializer=registry_pb2.Directive.FromString,
        )()
        stream = _Stream(self._owner, self._rng, address, call)
        self._streams.add(stream)
        try:
            reason = await stream.run()
        finally:
            self._streams.discard(stream)
            call.cancel()
            await channel.close()
        level = logging.INFO if stream.registered else logging.DEBUG
        log.log(level, "registry stream lost", extra={"address": address, "reason": reason})
        return stream.registered


class _Stream:
    """One stream to one operator replica."""

    def __init__(self, owner: RegistryOwner, rng: Random, address: str, call: Any) -> None:
        self._owner = owner
        self._rng = rng
        self._address = address
        self._call = call
        self._interval_s = FIRST_INTERVAL_S
        self.registered = False
        self.poked = asyncio.Event()
        self.token = ""

    async def run(self) -> str:
        """Read and write until one of them ends; returns why."""
        return await run_together(self._read(), self._write(), ended="closed by the operator")

    async def _read(self) -> None:
        while (directive := await self._call.read()) is not _EOF:
            if directive.HasField("registered"):
                self.registered = True
                self._interval_s = directive.registered.heartbeat_interval_ms / 1000 or FIRST_INTERVAL_S
                log.info("registered", extra={"address": self._address, "operator": directive.registered.operator})
            if directive.HasField("assignments"):
                self._owner.apply(directive.assignments)
            if directive.HasField("refused"):
                error = directive.refused
                log.error(
                    "refused", extra={"address": self._address, "code": name_of(error.code), "why": error.message}
                )
                return

    async def _write(self) -> None:
        await self._call.write(registry_pb2.Report(hello=self._owner.hello()))
        number = 0
        while True:
            self.poked.clear()
            if self.token:
                token, self.token = self.token, ""
                await self._call.write(registry_pb2.Report(auth=pb.Auth(token=token)))
            number += 1
            heartbeat = self._owner.heartbeat()
            heartbeat.number = number
            await self._call.write(registry_pb2.Report(heartbeat=heartbeat))
            await self._pause()

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(self._interval_s * self._rng.uniform(1 - JITTER, 1)):
                await self.poked.wait()
        except TimeoutError:
            return
