"""One sidecar, put together: the parts know each other only through this."""

import asyncio
import contextlib
import importlib
import logging
import time
from collections.abc import Callable
from random import Random
from typing import Any, Final

from prometheus_client import CollectorRegistry

from switchboard_runtime.dialing import Dialer
from switchboard_runtime.ops import OpsRoutes, serve_ops
from switchboard_runtime.usage import read_usage
from switchboard_sidecar.admission import DEFAULT_CONCURRENCY, DEFAULT_QUEUE_LENGTH
from switchboard_sidecar.assignments import is_newer, watch_file
from switchboard_sidecar.delivery import Deliverer
from switchboard_sidecar.drain import Drainer
from switchboard_sidecar.hosts import HostServer
from switchboard_sidecar.links import Links
from switchboard_sidecar.load import SAMPLE_S, Counts, LoadMeter
from switchboard_sidecar.metrics import Figures, SidecarCollector
from switchboard_sidecar.outbound import Outbound
from switchboard_sidecar.registry import Registry
from switchboard_sidecar.roster import Roster
from switchboard_sidecar.settings import Settings
from switchboard_wire.internal_v1 import registry_pb2
from switchboard_wire.limits import PROTOCOL
from switchboard_wire.names import DRAIN_PATH
from switchboard_wire.peer import Peer
from switchboard_wire.security import Dialling
from switchboard_wire.v1 import frames_pb2 as pb

log = logging.getLogger("sidecar")

# Of assignments that say none; the CRD's default
DEFAULT_DRAIN_S: Final = 30.0
# kubelet renews a projected token at four fifths of its life, never less than two minutes before its end
TOKEN_POLL_S: Final = 30.0
# Codes that speak against the instance, not against the caller
_FAULTS: Final = (pb.PROCESSING_ERROR, pb.INTERNAL_ERROR, pb.NODE_UNAVAILABLE, pb.DEADLINE_EXCEEDED)


class Sidecar:
    """Everything of one instance. `run` it once. `ops_port` is known once it runs."""

    def __init__(self, settings: Settings, rng: Random | None = None) -> None:
        clock: Callable[[], float] = time.monotonic
        rng = rng or Random()
        self.settings = settings
        self.ops_port: int | None = None
        self.roster = Roster()
        self.deliverer = Deliverer(self.roster, clock)
        self._dialling = Dialling(self._bundle if settings.tls else None, settings.token_path, self._may_be_plain)
        self.links = Links(self, self._dialling)
        self.registry = Registry(self, rng, self._dialling)
        self.outbound = Outbound(self.deliverer, settings.namespace, self.links.choose)
        self.drainer = Drainer(lambda: self.deliverer.busy, self._announce_drain, clock)
        self.meter = LoadMeter(clock)
        self.hosts = HostServer(self.roster, self.outbound, self._drain, self.meter.host_said)
        self._link_dialer = Dialer(settings.gateways, self.links.connect, rng)
        self._registry_dialer = Dialer(settings.registries, self.registry.connect, rng)
        self.links.on_peers = self._link_dialer.hear
        self._announced = pb.Hosted()
        self._was_ready = False
        self._http_hosts: Any = None  # the module is loaded with the first HTTP agent
        self._assigned = asyncio.Event()
        self.roster.on_change.append(self._roster_changed)

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until `stop`, then drain unless that was done, and close every stream."""
        async with contextlib.AsyncExitStack() as stack:
            if self.settings.ops_port is not None:
                self.ops_port = await stack.enter_async_context(self._serve_ops(self.settings.ops_port))
            await stack.enter_async_context(self.hosts.serve(self.settings.socket_path))
            log.info("serving", extra={"socket": str(self.settings.socket_path), "ops_port": self.ops_port})
            work = asyncio.create_task(self._work())
            stack.push_async_callback(_end, work)
            waiting = asyncio.create_task(stop.wait())
            await asyncio.wait([work, waiting], return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                work.result()  # raises what ended it
            await self._leave()
        log.info("stopped")

    def apply(self, assignments: pb.Assignments) -> None:
        """Take assignments from wherever they come, when they are newer than those that count."""
        if not is_newer(assignments, self.roster.assignments):
            return
        log.info("assignments", extra={"generation": assignments.generation, "agents": len(assignments.agents)})
        self._set_capacity(assignments)
        before = dict(self.roster.by_name)
        self.roster.apply(assignments)
        for name, entry in before.items():
            if self.roster.by_name.get(name) is not entry:
                self.deliverer.flush(entry)
        self.deliverer.pull()  # there may be more room, in all or in one agent
        self._update_http_hosts(assignments)
        self.hosts.assign()
        self._assigned.set()

    def why_not_ready(self) -> str | None:
        """None when calls may come. Safe from any thread."""
        return "draining" if self.drainer.is_draining else self.roster.why_not_ready()

    # What links and registry streams ask

    def hello(self) -> pb.Hello:
        admission = self.deliverer.admission
        return pb.Hello(
            protocol_min=PROTOCOL,
            protocol_max=PROTOCOL,
            namespace=self.settings.namespace,
            node=self.settings.node,
            instance=self.settings.instance,
            pod_uid=self.settings.pod_uid,
            capacity=pb.Capacity(concurrency=admission.concurrency, queue=admission.queue_length),
            hosted=self.roster.hosted(),
            version=self.settings.version,
            token=self._dialling.token(),
        )

    def load(self) -> pb.Load:
        admission = self.deliverer.admission
        return self.meter.load(admission.in_flight, admission.queued)

    def heartbeat(self) -> registry_pb2.Heartbeat:
        return registry_pb2.Heartbeat(
            ready=self.why_not_ready() is None,
            draining=self.drainer.is_draining,
            load=self.load(),
            hosted=self.roster.hosted(),
            generation=self.roster.generation,
        )

    def on_open(self, peer: Peer, frame: pb.Frame) -> None:
        self.deliverer.on_open(peer, frame)

    def link_came(self) -> None:
        self.outbound.link_came()

    # Inside

    def _set_capacity(self, assignments: pb.Assignments) -> None:
        admission = self.deliverer.admission
        before = (admission.concurrency, admission.queue_length)
        admission.concurrency = assignments.concurrency or DEFAULT_CONCURRENCY
        admission.queue_length = assignments.queue_length or DEFAULT_QUEUE_LENGTH
        if before != (admission.concurrency, admission.queue_length):
            self.links.broadcast(pb.Frame(kind=pb.HELLO, hello=self.hello()))

    async def _work(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(watch_file(self.settings.assignments_path, self.apply))
            group.create_task(self._sample())
            group.create_task(self._watch_token())
            if not self.settings.tls:
                group.create_task(self._registry_dialer.run())
            await self._assigned.wait()  # a link says what is hosted and how much: there is nothing to say before
            if self.settings.tls:  # whom to trust is among the assignments
                group.create_task(self._registry_dialer.run())
            group.create_task(self._link_dialer.run())

    async def _leave(self) -> None:
        """Drain unless that was done. With no host left nobody can serve, and nobody must wait."""
        has_work = self.deliverer.busy > 0 or self.roster.can_serve
        if has_work and not self.drainer.is_done:
            await self._drain("stopping")

    async def _drain(self, reason: str) -> int:
        assignments = self.roster.assignments
        budget_s = assignments.drain_ms / 1000 if assignments is not None else 0.0
        return await self.drainer.drain(reason, budget_s or DEFAULT_DRAIN_S)

    def _announce_drain(self, reason: str) -> None:
        self.deliverer.gate = self.drainer.gate
        self.links.go_away(reason)
        self.registry.poke()

    def _roster_changed(self) -> None:
        hosted = self.roster.hosted()
        is_ready = self.why_not_ready() is None
        if hosted != self._announced:
            self._announced = hosted
            self.links.broadcast(pb.Frame(kind=pb.HOSTED, hosted=hosted))
            self.registry.poke()
        if is_ready != self._was_ready:
            self._was_ready = is_ready
            log.info("ready" if is_ready else "not ready", extra={"reason": self.why_not_ready()})
            self.registry.poke()

    def _update_http_hosts(self, assignments: pb.Assignments) -> None:
        if self._http_hosts is None:
            if not any(agent.HasField("http") for agent in assignments.agents):
                return
            # aiohttp costs 20 MB of memory, so it is there only for who needs it
            module = importlib.import_module("switchboard_sidecar.http_host")
            self._http_hosts = module.HttpHosts(self.roster.http_answers, self.settings.namespace)
        self._http_hosts.update(assignments)

    async def _sample(self) -> None:
        try:
            while True:
                self.meter.sample(self._counts(), read_usage())
                await asyncio.sleep(SAMPLE_S)
        finally:
            if self._http_hosts is not None:
                await self._http_hosts.close()

    def _counts(self) -> Counts:
        entries = self.roster.by_name.values()
        return Counts(
            messages=sum(entry.codes.total() for entry in entries),
            failures=sum(entry.codes[code] for entry in entries for code in _FAULTS),
            seconds=sum(entry.processing.total for entry in entries),
        )

    def _bundle(self) -> bytes:
        """The certificates to trust, as the newest assignments have them."""
        if self.settings.ca_path is not None:
            return self.settings.ca_path.read_bytes()
        assignments = self.roster.assignments
        return assignments.ca_bundle.encode("ascii", "replace") if assignments is not None else b""

    def _may_be_plain(self) -> bool:
        return self.roster.assignments is not None and self.roster.assignments.plain_text

    async def _watch_token(self) -> None:
        shown = self._dialling.token()
        while self.settings.token_path is not None:
            await asyncio.sleep(TOKEN_POLL_S)
            token = self._dialling.token()
            if token and token != shown:
                shown = token
                self.links.broadcast(pb.Frame(kind=pb.AUTH, auth=pb.Auth(token=token)))
                self.registry.authenticate(token)

    def _serve_ops(self, port: int) -> contextlib.AbstractAsyncContextManager[int]:
        metrics = CollectorRegistry()
        metrics.register(SidecarCollector(self._figures))
        routes = OpsRoutes(self.why_not_ready, {DRAIN_PATH: self.drainer.wait}, metrics)
        return serve_ops(routes, port)

    def _figures(self) -> Figures:
        admission = self.deliverer.admission
        return Figures(
            entries=list(self.roster.by_name.values()),
            refused=dict(self.deliverer.refused),
            in_flight=admission.in_flight,
            queued=admission.queued,
            concurrency=admission.concurrency,
            remembered=len(self.deliverer.duplicates.seen),
            outbound=self.outbound.in_flight,
            held=self.outbound.held,
            links=self.links.live,
            registries=self.registry.live,
            hosts=self.hosts.connected,
            draining=self.drainer.is_draining,
        )


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def run_sidecar(settings: Settings, stop: asyncio.Event) -> None:
    """Run one sidecar in this loop until `stop` is set."""
    await Sidecar(settings).run(stop)
