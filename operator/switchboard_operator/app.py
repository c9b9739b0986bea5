"""The operator's process: watches, registry, queue, lease and ops port, put together and stopped in order."""

import asyncio
import contextlib
import datetime
import logging
import random
import threading
from collections.abc import AsyncIterator, Coroutine
from typing import Any, Final

from switchboard_identity.building import build_gatekeeper
from switchboard_identity.membership import Membership, follow_members
from switchboard_identity.serving import server_credentials
from switchboard_kube import ApiError, connect
from switchboard_kube.client import ApiServer
from switchboard_operator import metrics
from switchboard_operator.assignments import read_assignments
from switchboard_operator.auditing import audit_for_ever
from switchboard_operator.authority_keeping import AuthorityKeeper, Keeping
from switchboard_operator.checks import Proofs
from switchboard_operator.demand import Demands
from switchboard_operator.executing import Executor
from switchboard_operator.lease import Elector
from switchboard_operator.listening import Pokes
from switchboard_operator.metrics_api.serving import build_serving, utc_now
from switchboard_operator.objects import CONFIG_MAP, Resource, spec_concurrency
from switchboard_operator.pacing import Key, kind_of
from switchboard_operator.pod import Images, Surroundings
from switchboard_operator.posting import Poster
from switchboard_operator.querying import QueryService
from switchboard_operator.reconciling import Reconciler
from switchboard_operator.registry import Patience, Pool, Registry
from switchboard_operator.registry_gate import RegistryGate
from switchboard_operator.registry_server import Answering, Board, RegistryService, serve_registry
from switchboard_operator.replicas import idle_limit_s
from switchboard_operator.served_kinds import ServedKinds
from switchboard_operator.settings import Settings
from switchboard_operator.snapshot import child_names
from switchboard_operator.trust import build_trust
from switchboard_operator.watching import Watches
from switchboard_operator.working import Working
from switchboard_operator.workqueue import Lanes
from switchboard_operator.writing import Writer
from switchboard_runtime.background import in_background
from switchboard_runtime.ops import OpsRoutes, serve_ops
from switchboard_wire import names

log = logging.getLogger(__name__)

# Until the CA is made; tried again at this pace
CERTIFICATE_S: Final = 0.2
# What the API server refuses now it mostly refuses for a while, and each try is a warning
RETRY_S: Final = 2.0


class Operator:
    """One replica."""

    def __init__(self, settings: Settings, kube: ApiServer) -> None:
        loop = asyncio.get_running_loop()
        self._rng = random.Random()
        self._queue: Lanes[Key] = Lanes((names.AGENT_NODE, names.AGENT), kind_of, self._rng)
        self._registry = Registry(started=loop.time())
        self._demands = Demands()
        self._board = Board()
        self._elector = Elector(kube, settings.namespace, settings.identity, self._lead)
        writer = Writer(kube, self._elector.check, loop.time)
        self._pokes = Pokes(loop, self._queue, self._assigned, self._known, self._synced, writer.is_echo)
        self._watches = Watches(settings.namespaces, self._pokes, self._rng, ServedKinds(kube, loop).are_there)
        self._kube, self._settings = kube, settings
        self._is_synced = self._is_trust_fresh = False
        self._reconciler = Reconciler(
            look=self._watches.look,
            writer=writer,
            executor=Executor(writer),
            poster=Poster(kube, settings.identity, utc_micros),
            registry=self._registry,
            demands=self._demands,
            images=Images(settings.sidecar_image, settings.host_image),
            around=Surroundings(
                settings.gateways,
                settings.registries,
                settings.image_pull_policy,
                settings.tls,
                settings.tls and settings.trust.plain_text,
            ),
            add=self._queue.add,
            add_gently=self._queue.add_gently,
            utc_now=utc_seconds,
            source=settings.source,
            ca_bundle=lambda: self._trust.bundle or "",
            proofs=Proofs(pods=settings.trust.checks, clients=settings.checks_clients),
        )
        self._working = Working(
            self._queue, self._reconciler, self._registry, self._watches, self._rng, lambda: self._elector.holds
        )
        settled = datetime.timedelta(seconds=settings.ca_settled_s)
        self._authorities = AuthorityKeeper(Keeping(kube, settings.namespace, lambda: self._elector.leads, settled))
        look, check = self._watches.look, self._elector.check
        self._serving = build_serving(self._authorities, settings, look, self._registry, check)
        self._membership = Membership()
        self._gate = build_gatekeeper(settings.trust, kube, self._membership, count_review)
        self._trust = build_trust(settings, self._authorities, self._trust_changed)

    async def run(self, stop: asyncio.Event) -> None:
        """Run until `stop`; then give the lease back and end."""
        routes = OpsRoutes(readiness=self._readiness)
        thread = threading.Thread(target=self._watches.run, name="watches", daemon=True)
        jobs = in_background(self._jobs(), stop)
        # Before the port: whoever is to make the certificate may wait for this replica to be ready
        thread.start()
        try:
            async with serve_ops(routes, self._settings.ops_port), jobs, self._serving.run(self._rng):
                async with self._serve_registry(stop) as port:
                    log.info("operator runs", extra={"registry_port": port, "identity": self._settings.identity})
                    await stop.wait()
                log.info("operator stops")
                self._queue.hold()
        finally:
            self._watches.stop()
            await asyncio.to_thread(thread.join, 10)

    @contextlib.asynccontextmanager
    async def _serve_registry(self, stop: asyncio.Event) -> AsyncIterator[int]:
        """The Registry's port, once there is a certificate for it."""
        service = RegistryService(self._registry, self._board, self._demands, self._wanted, self._settings.identity)
        credentials = None
        while self._settings.tls and credentials is None and not stop.is_set():
            try:
                credentials = server_credentials(self._trust)
            except OSError:
                await asyncio.sleep(CERTIFICATE_S)
        if self._settings.tls and credentials is None:
            yield 0
            return
        queries = QueryService(self._watches, self._registry, self._settings.identity)
        answering = Answering(service.connect, queries.query)
        if self._gate is not None:
            gate = RegistryGate(self._gate, answering)
            answering = Answering(gate.connect, gate.query)
        async with serve_registry(answering, self._settings.registry_port, credentials=credentials) as port:
            yield port

    def _jobs(self) -> list[Coroutine[Any, Any, None]]:
        """What runs beside the ports as long as the replica does."""
        jobs = [
            self._elector.run(self._rng, utc_micros),
            self._trust.run(self._rng),
            audit_for_ever(self._kube, self._watches, self._settings.namespaces, self._rng),
            *self._working.jobs(),
        ]
        if self._settings.own_ca or self._settings.metrics_apis:
            jobs.append(self._authorities.run(self._rng, utc_now))
        if self._gate is not None:
            trust = self._settings.trust
            jobs.append(follow_members(self._kube, self._membership, self._settings.namespaces, trust.home))
        return jobs

    def _assigned(self, config_map: Resource, gone: bool) -> None:
        meta = config_map.meta
        # A copy of it, as backups make, has the same label and owner
        if meta.owner_kind != names.AGENT_NODE or meta.name != child_names(meta.owner_name)[CONFIG_MAP]:
            return
        pool = (meta.namespace, meta.owner_name)
        if gone:
            self._board.remove(pool, meta.owner_uid)
        elif (assignments := read_assignments(config_map)) is not None:
            self._board.publish(pool, meta.owner_uid, assignments)

    def _wanted(self, pool: Pool) -> None:
        """Calls wait for an AgentNode: if it sleeps, this wakes it. When instances are lost many wait, often told."""
        if self._demands.is_watched(pool):
            self._queue.add((names.AGENT_NODE, *pool))

    def _known(self, node: Resource, gone: bool) -> None:
        pool, beat = (node.meta.namespace, node.meta.name), node.spec.get("heartbeat") or {}
        now = asyncio.get_running_loop().time()
        if gone or idle_limit_s(node) is None:
            self._demands.forget(pool)
        else:
            self._demands.watch(pool, node.spec.get("replicas", 1), now)
        if gone:
            self._board.set_interval(pool, None)
            self._registry.set_patience(pool, None)
            self._registry.set_concurrency(pool, None)
            return
        interval = beat.get("intervalSeconds", 2)
        degraded, down = beat.get("missedUntilDegraded", 3), beat.get("missedUntilDown", 5)
        self._registry.set_patience(pool, Patience(interval * degraded, interval * down))
        self._registry.set_concurrency(pool, spec_concurrency(node))
        self._board.set_interval(pool, interval * 1000)

    def _synced(self, synced: bool) -> None:
        self._is_synced = synced
        self._open_or_close()

    def _lead(self, leads: bool) -> None:
        metrics.LEADS.set(leads)
        self._is_trust_fresh = False
        self._open_or_close()
        if leads:
            self._reconciler.begin()
            self._pokes.spawn(self._begin_to_lead())

    async def _begin_to_lead(self) -> None:
        """Know the newest certificates before writing anything: pods must not be told to trust older ones."""
        is_told = False
        while not self._is_trust_fresh and self._elector.holds:
            try:
                await self._trust.refresh()
                self._is_trust_fresh = self._trust.bundle is not None
            except (ApiError, ValueError, OSError) as error:
                log.warning("certificates cannot be read or written: %s", error)
            else:
                if not self._is_trust_fresh and not is_told:
                    log.warning("there is no CA certificate to trust (ca.crt): nothing is written until there is one")
                    is_told = True
            if not self._is_trust_fresh:
                await asyncio.sleep(RETRY_S)
        self._open_or_close()
        # The watches may be busy just now; what no event tells of would wait for the next resync
        while self._elector.holds:
            if await self._working.add_all():
                return
            await asyncio.sleep(RETRY_S)

    def _trust_changed(self) -> None:
        self._pokes.spawn(self._working.add_all())

    def _open_or_close(self) -> None:
        """By what the elector told last: nobody tells when a late renewal is made good. Each write asks for itself."""
        if self._is_synced and self._elector.holds and self._is_trust_fresh:
            self._queue.release()
        else:
            self._queue.hold()

    def _readiness(self) -> str | None:
        if self._serving.starts:
            return "the metrics API has no certificate yet"
        return None if self._watches.started.is_set() else "the watches have not begun"


async def run_operator(settings: Settings, stop: asyncio.Event) -> None:
    """Connect and run one replica until `stop`."""
    async with connect() as kube:
        await Operator(settings, kube).run(stop)


def count_review(review: str, answer: str) -> None:
    """Told by who asks the API server about a pod's token."""
    metrics.REVIEWS.labels(review, answer).inc()


def utc_seconds() -> str:
    """Now, as conditions tell it."""
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def utc_micros() -> str:
    """Now, as Leases and Events tell it."""
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
