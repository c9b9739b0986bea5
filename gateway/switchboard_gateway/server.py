"""The gateway's process: its servers, started in order and drained in reverse."""

import asyncio
import contextlib
import logging
import secrets
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from switchboard_gateway.access.building import secure
from switchboard_gateway.age import Age
from switchboard_gateway.core import Core
from switchboard_gateway.grpc_server import serve_grpc
from switchboard_gateway.health import HealthApi
from switchboard_gateway.links import LinkRules, LinkServer
from switchboard_gateway.metrics import GatewayMetrics
from switchboard_gateway.peers import Peers, Self
from switchboard_gateway.public import PublicApi
from switchboard_gateway.registry_streams import tell_operators
from switchboard_gateway.rest import serve_rest
from switchboard_gateway.rest.limits import RestLimits, SocketLimits
from switchboard_gateway.sessions import Sessions
from switchboard_gateway.settings import GatewaySettings
from switchboard_identity.identities import Gate
from switchboard_identity.serving import CertificateFolder, ReloadingContext
from switchboard_identity.settings import IdentitySettings
from switchboard_runtime.background import in_background
from switchboard_runtime.ops import OpsRoutes, serve_ops
from switchboard_wire.security import Dialling

log = logging.getLogger("switchboard.gateway")

# A gateway that starts is ready when all instances that are expected have linked, or after this time
LINK_WAIT_S = 10.0
# Endpoints of a gateway that stops are gone from its Service within this time on any healthy cluster
LEAVE_S = 5.0
# What calls in flight may take after that; terminationGracePeriodSeconds of the chart is above the sum
DRAIN_S = 30.0

Readiness = Callable[[], str | None]


@dataclass(frozen=True, slots=True)
class Inside:
    """What a gateway knows of its installation. readiness: why it is not ready yet, or None. gate: checks of links."""

    readiness: Readiness
    gate: Gate | None


async def serve(settings: GatewaySettings, stop: asyncio.Event) -> None:
    """Serve until `stop` is set; then let calls in flight end, at most their deadline, and close.

    A job that fails sets `stop`, and its error is raised at the end: a gateway whose directory stands still routes by
    what was, and nobody would know.
    """
    core = Core(
        settings.namespace,
        GatewayMetrics.create(),
        announced=settings.announced,
        zone=settings.zone,
        hosts_sessions=settings.session_agents,
    )
    peers = Peers(core, _self(settings), settings.gateways, _peers_dialling(settings.identity))
    async with contextlib.AsyncExitStack() as stack:
        enter = stack.enter_async_context
        inside = await enter(_directory(core, settings, stop))

        def readiness() -> str | None:
            return "the gateway stops" if stop.is_set() else inside.readiness()

        await enter(serve_ops(OpsRoutes(readiness), settings.ops_port, settings.bind))
        links_tls = await enter(_tls(settings, stop))
        rules = LinkRules(settings.instance, inside.gate, links_tls, settings.identity.plain_text)
        await enter(LinkServer(core, rules, peers).serve(settings.bind, settings.links_port))
        await enter(tell_operators(core, settings, stop))
        limits = settings.grpc
        security = await enter(secure(settings.access, stop, core.metrics.count_reviews("clients")))
        guard, certificate = security.guard, security.certificate
        age = Age(limits.connection_age_s, limits.connection_grace_s)
        sessions = Sessions(core, age, guard)
        tls = certificate.context if certificate is not None else None
        await enter(sessions.serve(settings.bind, settings.session_port, settings.reached_at, tls))
        health = HealthApi(readiness)
        await enter(health.keep())
        public = PublicApi(core, sessions, guard)
        await enter(serve_grpc(f"{settings.bind}:{settings.grpc_port}", public, health, limits, certificate))
        rest = RestLimits(socket=SocketLimits(age=age))
        await enter(serve_rest(core, settings.bind, settings.http_port, rest, security))
        await enter(in_background([peers.run()], stop))  # keeps links with the other replicas
        ports = {"grpc": settings.grpc_port, "http": settings.http_port, "links": settings.links_port}
        log.info("gateway serves", extra=ports | {"tls": certificate is not None, "auth": guard is not None})
        await stop.wait()
        await _drain(core, leave_s=0.0 if settings.announced else LEAVE_S)


def _self(settings: GatewaySettings) -> Self:
    host = f"[{settings.pod_ip}]" if ":" in settings.pod_ip else settings.pod_ip
    address = f"{host}:{settings.links_port}" if host else ""
    return Self(settings.instance, settings.pod_uid or secrets.token_hex(8), address)


def _peers_dialling(identity: IdentitySettings) -> Dialling:
    folder = identity.tls_folder
    return Dialling((folder / "ca.crt").read_bytes if folder is not None else None, identity.token_path)


async def _drain(core: Core, leave_s: float) -> None:
    """Stay until the Service no longer brings clients here and every call in flight has ended."""
    log.info("gateway drains", extra={"calls": core.active, "sessions": len(core.sessions)})
    core.say_goodbye("the gateway stops")
    await asyncio.sleep(leave_s)
    core.say_goodbye("the gateway stops")  # to those who came meanwhile
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(DRAIN_S):
            await core.wait_quiet()
    log.info("gateway stops", extra={"calls": core.active})


@contextlib.asynccontextmanager
async def _tls(settings: GatewaySettings, stop: asyncio.Event) -> AsyncIterator[ReloadingContext | None]:
    """The certificate of the links, kept fresh while open; None: plain text. Raises OSError without a certificate."""
    folder = settings.identity.tls_folder
    if folder is None:
        yield None
        return
    context = ReloadingContext(CertificateFolder(folder))
    async with in_background([context.keep()], stop):
        yield context


@contextlib.asynccontextmanager
async def _directory(core: Core, settings: GatewaySettings, stop: asyncio.Event) -> AsyncIterator[Inside]:
    """Keep the core's directory, and with it the members of the installation, while open."""
    identity = settings.identity
    if settings.announced:
        yield Inside(lambda: None, _gate_by_file(identity) if identity.checks else None)
        return
    # Imported here: `switchboard dev` runs the gateway without the Kubernetes client's 40 MB
    from switchboard_gateway.circuit_events import CircuitEvents
    from switchboard_gateway.cluster_directory import ClusterDirectory
    from switchboard_identity.building import build_gatekeeper
    from switchboard_kube import connect

    clock = asyncio.get_running_loop().time
    started = clock()
    async with connect() as kube:
        own_uid = "" if settings.zone else settings.pod_uid
        directory = ClusterDirectory(kube, core, settings.namespaces, own_uid, identity.home)
        events = CircuitEvents(kube, core, directory.agent, settings.instance)
        all_linked = False

        def readiness() -> str | None:
            nonlocal all_linked
            if not directory.is_synced:
                return "Agents, AgentNodes and EndpointSlices are not listed yet"
            missing = directory.expected_pods() - {i.pod_uid for i in list(core.table.instances.values())}
            all_linked = all_linked or not missing or clock() - started > LINK_WAIT_S
            return None if all_linked else f"{len(missing)} instances have not linked yet"

        async with in_background([directory.run(), events.run()], stop):
            count = core.metrics.count_reviews("pods")
            yield Inside(readiness, build_gatekeeper(identity, kube, directory.membership, count))


def _gate_by_file(identity: IdentitySettings) -> Gate | None:
    """Checks of tokens outside Kubernetes, by keys in a file and without EndpointSlices."""
    from switchboard_identity.building import build_gatekeeper

    return build_gatekeeper(identity, None, None)
