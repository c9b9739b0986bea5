"""The HTTPS port of the metrics APIs: the shell around `routes` and `answering`."""

import asyncio
import contextlib
import datetime
import logging
import ssl
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol, TypeVar

from aiohttp import web

from switchboard_kube import ApiError
from switchboard_operator import metrics
from switchboard_operator.authority import KeyPair
from switchboard_operator.executing import Later
from switchboard_operator.metrics_api.answering import Moment, answer, find_subjects
from switchboard_operator.metrics_api.documents import Json, Refusal
from switchboard_operator.metrics_api.front_proxy import FrontProxy, User, common_name_of, identify
from switchboard_operator.metrics_api.reviewing import Reviewer
from switchboard_operator.metrics_api.routes import Wanted, route
from switchboard_operator.registry import Registry
from switchboard_operator.snapshot import Indexes

log = logging.getLogger(__name__)

T = TypeVar("T")

# Requests are a path, a selector and the proxy's headers
MAX_LINE_BYTES: Final = 16 << 10
# The API server keeps idle connections for 90 s
KEEP_ALIVE_S: Final = 95.0
STOP_S: Final = 1.0


class Look(Protocol):
    """Reads the indexes at one moment."""

    def __call__(self, read: Callable[[Indexes], T]) -> Awaitable[T]:
        """The value of `read`."""
        ...


@dataclass(slots=True)
class MetricsApi:
    """Answers requests. `proxy` is None until it is known; then nobody is believed."""

    groups: Collection[str]
    look: Look
    registry: Registry
    reviewer: Reviewer
    utc_now: Callable[[], datetime.datetime]
    proxy: FrontProxy | None = None

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """One request; every refusal is a Status."""
        try:
            document, code = await self._answer(request), 200
        except Refusal as refusal:
            document, code = refusal.document(), refusal.code
        except (ApiError, Later) as error:
            document, code = Refusal(503, "ServiceUnavailable", str(error)).document(), 503
        metrics.METRICS_REQUESTS.labels(str(code)).inc()
        return web.json_response(document, status=code)

    async def _answer(self, request: web.BaseRequest) -> Json:
        user = self._identify(request)
        if request.method != "GET":
            raise Refusal(405, "MethodNotAllowed", f"{request.method} is not possible: metrics can be read alone")
        wanted = route(request.rel_url.raw_path, request.query, self.groups)
        if not isinstance(wanted, Wanted):
            return wanted
        attributes = wanted.attributes()
        if not await self.reviewer.allows(user, attributes):
            resource = "/".join(attributes[part] for part in ("resource", "subresource") if part in attributes)
            raise Refusal(
                403,
                "Forbidden",
                f'User "{user.name}" cannot {attributes["verb"]} {resource} in API group "{wanted.group}" '
                f'in namespace "{wanted.namespace}": bind a role that allows it',
            )
        subjects = await self.look(lambda indexes: find_subjects(indexes, wanted))
        moment = Moment(asyncio.get_running_loop().time(), self.utc_now())
        return answer(wanted, subjects, self.registry, moment)

    def _identify(self, request: web.BaseRequest) -> User:
        certificate = request.transport.get_extra_info("peercert") if request.transport else None
        user = identify(self.proxy, common_name_of(certificate), request.headers.items()) if self.proxy else None
        if user is None:
            raise Refusal(401, "Unauthorized", "ask the API server: it passes requests on with its own certificate")
        return user


class Listener:
    """The port, closed until there is a certificate; it is opened anew when certificate or front proxy change."""

    def __init__(self, api: MetricsApi, port: int, host: str | None = None) -> None:
        self._api, self._port, self._host = api, port, host
        self._runner: web.ServerRunner | None = None
        self._site: web.TCPSite | None = None

    @property
    def is_open(self) -> bool:
        """Whether requests are taken."""
        return self._site is not None

    @contextlib.asynccontextmanager
    async def ready(self) -> AsyncIterator[None]:
        """Have the means to open the port."""
        server = web.Server(
            self._api.handle, max_line_size=MAX_LINE_BYTES, keepalive_timeout=KEEP_ALIVE_S, access_log=None
        )
        self._runner = web.ServerRunner(server, shutdown_timeout=STOP_S)
        await self._runner.setup()
        try:
            yield
        finally:
            await self._runner.cleanup()
            self._site = None

    async def open(self, pair: KeyPair, proxy: FrontProxy) -> None:
        """Take connections with this certificate, believing this proxy; connections that are there stay."""
        assert self._runner is not None
        context = await asyncio.to_thread(_context, pair, proxy)
        if self._site is not None:
            await self._site.stop()
        self._site = web.TCPSite(
            self._runner, self._host, self._port, ssl_context=context, reuse_address=True, backlog=64
        )
        await self._site.start()
        self._api.proxy = proxy
        log.info("metrics API takes requests", extra={"port": self._port, "certificate_until": str(pair.renew_at)})


def _context(pair: KeyPair, proxy: FrontProxy) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # Optional, so that who has none gets a 401 that says what to do instead of a failed handshake
    context.verify_mode = ssl.CERT_OPTIONAL
    context.load_verify_locations(cadata=proxy.ca)
    # The ssl module takes certificates from files alone
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "pair.pem")
        file.touch(mode=0o600)
        file.write_bytes(pair.key + pair.certificate)
        context.load_cert_chain(file)
    return context
