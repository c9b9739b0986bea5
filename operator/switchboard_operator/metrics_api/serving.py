"""Keeps the metrics APIs served: the port with a valid certificate, the front proxy's CA, our caBundles."""

import asyncio
import contextlib
import datetime
import logging
import random
from collections.abc import AsyncIterator, Callable
from typing import Final

from switchboard_kube import CONFIG_MAPS, ApiError
from switchboard_operator.authority import Authority, KeyPair, issue
from switchboard_operator.authority_keeping import AuthorityKeeper
from switchboard_operator.lease import NotLeading
from switchboard_operator.metrics_api.bundles import BundleKeeper
from switchboard_operator.metrics_api.documents import CUSTOM_GROUP, EXTERNAL_GROUP
from switchboard_operator.metrics_api.front_proxy import CONFIG_MAP, NAMESPACE, FrontProxy, read_front_proxy
from switchboard_operator.metrics_api.reviewing import Reviewer
from switchboard_operator.metrics_api.server import Listener, Look, MetricsApi
from switchboard_operator.registry import Registry
from switchboard_operator.settings import Settings
from switchboard_operator.signals import Source
from switchboard_wire import names

log = logging.getLogger(__name__)

# An APIService that is new, or whose bundle somebody took away, works by then; the proxy's CA changes rarely
LOOK_S: Final = 15.0
# A pod that cannot open the port is no reason to hold up a rollout for longer
STARTS_S: Final = 15.0


class Serving:
    """The metrics APIs of one replica. keeper: of the authority that signs for them; somebody else runs it."""

    def __init__(self, keeper: AuthorityKeeper, api: MetricsApi, port: int, check_lease: Callable[[], None]) -> None:
        keeping = keeper.keeping
        self._kube, self._namespace, self._leads = keeping.kube, keeping.namespace, keeping.leads
        self._keeper, self._api = keeper, api
        self._listener = Listener(api, port)
        self._bundles = BundleKeeper(self._kube, self._namespace, api.groups, check_lease)
        self._pair: KeyPair | None = None
        self._signer: Authority | None = None
        self._proxy: FrontProxy | None = None
        self._news = asyncio.Event()
        keeper.changed.append(self._news.set)
        self._loop = asyncio.get_running_loop()
        self._started = self._loop.time()

    @property
    def starts(self) -> bool:
        """Whether the port is about to be opened; may be asked from any thread."""
        is_new = self._loop.time() - self._started < STARTS_S
        return bool(self._api.groups) and not self._listener.is_open and is_new

    @contextlib.asynccontextmanager
    async def run(self, rng: random.Random) -> AsyncIterator[None]:
        """Serve while the context is open; nothing at all when no API is switched on."""
        if not self._api.groups:
            yield
            return
        async with self._listener.ready():
            keeping = asyncio.create_task(self._keep(rng))
            try:
                yield
            finally:
                keeping.cancel()
                await asyncio.gather(keeping, return_exceptions=True)

    async def _keep(self, rng: random.Random) -> None:
        while True:
            self._news.clear()
            try:
                await self._look(utc_now())
            except NotLeading:
                pass  # whoever leads does it
            except (ApiError, ValueError, OSError) as error:
                log.warning("the metrics API is not served as it should be: %s", error)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S * rng.uniform(0.8, 1.2)):
                    await self._news.wait()

    async def _look(self, now: datetime.datetime) -> None:
        config = await self._kube.get(CONFIG_MAPS, CONFIG_MAP, NAMESPACE)
        proxy = read_front_proxy(config.get("data") or {})
        if proxy is None:
            raise ValueError("this API server has no aggregation layer (no requestheader-client-ca-file)")
        signer = self._keeper.choose_signer(now)
        if signer is None:
            return
        if self._pair is None or now >= self._pair.renew_at or signer != self._signer:
            self._pair, self._signer, self._proxy = issue(signer, _names_of(self._namespace), now), signer, None
        if proxy != self._proxy:
            await self._listener.open(self._pair, proxy)
            self._proxy = proxy
        if self._leads():
            await self._bundles.keep(self._keeper.bundle)


def build_serving(
    keeper: AuthorityKeeper, settings: Settings, look: Look, registry: Registry, check_lease: Callable[[], None]
) -> Serving:
    """The metrics APIs that the settings switch on."""
    groups = {Source.CUSTOM: CUSTOM_GROUP, Source.EXTERNAL: EXTERNAL_GROUP}
    api = MetricsApi(
        groups=tuple(groups[source] for source in settings.metrics_apis),
        look=look,
        registry=registry,
        reviewer=Reviewer(keeper.keeping.kube, asyncio.get_running_loop().time),
        utc_now=utc_now,
    )
    return Serving(keeper, api, settings.metrics_port, check_lease)


def utc_now() -> datetime.datetime:
    """The time that certificates and timestamps go by."""
    return datetime.datetime.now(datetime.UTC)


def _names_of(namespace: str) -> list[str]:
    service = f"{names.METRICS_SERVICE}.{namespace}.svc"
    return [service, f"{service}.cluster.local"]
