"""Streams to the operator's replicas: what calls this gateway has for each AgentNode, at once when the first one waits.

No message depends on them; what depends on them is that a pool which sleeps is woken.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from random import Random
from typing import Final

from grpc import aio

from switchboard_gateway.asking import nobody_to_ask
from switchboard_gateway.core import Core
from switchboard_gateway.demand import DemandMeter
from switchboard_gateway.settings import GatewaySettings
from switchboard_runtime.background import in_background
from switchboard_runtime.dialing import Dialer
from switchboard_wire import names
from switchboard_wire.errors import name_of
from switchboard_wire.internal_v1 import registry_pb2
from switchboard_wire.limits import PROTOCOL
from switchboard_wire.registry_grpc import GrpcLine, grpc_dial
from switchboard_wire.registry_line import Lines
from switchboard_wire.security import PLAIN, Dialling
from switchboard_wire.streams import run_together
from switchboard_wire.v1 import frames_pb2 as pb
from switchboard_wire.v1.instances_pb2 import InstanceList, InstanceQuery

log = logging.getLogger("switchboard.gateway.registry")

# Until the operator says its own
FIRST_INTERVAL_S: Final = 2.0
# An operator answers from memory
QUERY_S: Final = 2.0
# kubelet renews a projected token at four fifths of its life, never less than two minutes before its end
TOKEN_POLL_S: Final = 30.0
# So that replicas started together drift apart
JITTER: Final = 0.1


@contextlib.asynccontextmanager
async def tell_operators(core: Core, settings: GatewaySettings, stop: asyncio.Event) -> AsyncIterator[None]:
    """Tell every replica of the operator what calls there are, while open. stop: set if that fails."""

    dialling = settings.identity.dialling()

    def hello() -> pb.Hello:
        name, uid, token = settings.instance, settings.pod_uid, dialling.token()
        return pb.Hello(protocol_min=PROTOCOL, protocol_max=PROTOCOL, gateway=name, pod_uid=uid, token=token)

    rng = Random()
    streams = RegistryStreams(core, hello, rng, dialling)
    targets = [settings.registries] if settings.registries and not settings.announced else []
    async with in_background([Dialer(targets, streams.connect, rng).run()], stop):
        yield


class RegistryStreams:
    """All streams to operators. hello: who this replica is, with a fresh token."""

    def __init__(self, core: Core, hello: Callable[[], pb.Hello], rng: Random, dialling: Dialling = PLAIN) -> None:
        def begin(line: GrpcLine) -> _Stream:
            return _Stream(line, hello(), DemandMeter(core), rng, dialling.token)

        self._lines = Lines(grpc_dial(dialling), begin, log)
        self.connect = self._lines.connect
        core.on_first_held = self.poke
        core.ask_registry = self.query

    def poke(self) -> None:
        """A call waits: every operator hears of it now."""
        for stream in self._lines.live:
            stream.poked.set()

    async def query(self, query: InstanceQuery) -> InstanceList:
        """What the first operator that answers knows. Raises Unavailable."""
        for stream in list(self._lines.live):
            if stream.registered:
                try:
                    return await stream.ask(query)
                except aio.AioRpcError as error:
                    log.info("an operator does not answer", extra={"code": error.code().name, "why": error.details()})
        return await nobody_to_ask(query)


class _Stream:
    """One stream to one operator replica."""

    def __init__(
        self, line: GrpcLine, hello: pb.Hello, meter: DemandMeter, rng: Random, token: Callable[[], str]
    ) -> None:
        self._query = line.channel.unary_unary(
            names.REGISTRY_QUERY_METHOD, InstanceQuery.SerializeToString, InstanceList.FromString
        )
        self._line, self._hello, self._meter, self._rng, self._token = line, hello, meter, rng, token
        self._interval_s = FIRST_INTERVAL_S
        self.registered = False
        self.poked = asyncio.Event()

    async def ask(self, query: InstanceQuery) -> InstanceList:
        """The operator's answer. Raises AioRpcError."""
        token = self._token()
        metadata = (("authorization", f"Bearer {token}"),) if token else None
        answer: InstanceList = await self._query(query, timeout=QUERY_S, metadata=metadata)
        return answer

    async def run(self) -> str:
        """Read and write until one of them ends; returns why."""
        return await run_together(self._read(), self._write(), ended="closed by the operator")

    async def _read(self) -> None:
        async for directive in self._line.directives():
            if directive.HasField("registered"):
                self.registered = True
                self._interval_s = directive.registered.heartbeat_interval_ms / 1000 or FIRST_INTERVAL_S
            if directive.HasField("refused"):
                error = directive.refused
                log.error("refused by the operator", extra={"code": name_of(error.code), "why": error.message})
                return

    async def _write(self) -> None:
        await self._line.write(registry_pb2.Report(hello=self._hello))
        shown, clock = self._hello.token, asyncio.get_running_loop().time
        looked = clock()
        while True:
            self.poked.clear()
            if shown and clock() - looked > TOKEN_POLL_S:
                looked, token = clock(), self._token()
                if token and token != shown:
                    shown = token
                    await self._line.write(registry_pb2.Report(auth=pb.Auth(token=token)))
            await self._line.write(registry_pb2.Report(demand=self._meter.read()))
            try:
                async with asyncio.timeout(self._interval_s * self._rng.uniform(1 - JITTER, 1)):
                    await self.poked.wait()
            except TimeoutError:
                continue
