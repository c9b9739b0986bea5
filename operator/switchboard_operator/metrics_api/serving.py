"""Keeps the metrics APIs served: the port with a valid certificate, the front proxy's CA, our caBundles."""

import asyncio
import contextlib
import datetime
import logging
import random
from collections.abc import AsyncIterator, Callable
from typing import Final

from switchboard_kube import CONFIG_MAPS, ApiError, Kube
from switchboard_operator.authority import Authority, KeyPair, bundle_of, choose_signer, issue
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
    """The metrics APIs of one replica."""

    def __init__(self, kube: Kube, namespace: str, api: MetricsApi, port: int, check_lease: Callable[[], None]) -> None:
        self._kube, self._namespace, self._api = kube, namespace, api
        self._listener = Listener(api, port)
        self._bundles = BundleKeeper(kube, namespace, api.groups, check_lease)
        self._leads = _asks(check_lease)
        self._authorities: tuple[Authority, ...] = ()
        self._pair: KeyPair | None = None
        self._signer: Authority | None = None
        self._proxy: FrontProxy | None = None
        self._news = asyncio.Event()
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
        keeper = AuthorityKeeper(self._kube, self._namespace, self._leads, self._adopt)
        async with self._listener.ready():
            tasks = [asyncio.create_task(keeper.run(rng, utc_now)), asyncio.create_task(self._keep(rng))]
            try:
                yield
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def _adopt(self, authorities: tuple[Authority, ...]) -> None:
        self._authorities = authorities
        self._news.set()

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
        if not self._authorities:
            return
        signer = choose_signer(self._authorities, now)
        if self._pair is None or now >= self._pair.renew_at or signer is not self._signer:
            self._pair, self._signer, self._proxy = issue(signer, _names_of(self._namespace), now), signer, None
        if proxy != self._proxy:
            await self._listener.open(self._pair, proxy)
            self._proxy = proxy
        if self._leads():
            await self._bundles.keep(bundle_of(self._authorities))


def build_serving(
    kube: Kube, settings: Settings, look: Look, registry: Registry, check_lease: Callable[[], None]
) -> Serving:
    """The metrics APIs that the settings switch on."""
    groups = {Source.CUSTOM: CUSTOM_GROUP, Source.EXTERNAL: EXTERNAL_GROUP}
    api = MetricsApi(
        groups=tuple(groups[source] for source in settings.metrics_apis),
        look=look,
        registry=registry,
        reviewer=Reviewer(kube, asyncio.get_running_loop().time),
        utc_now=utc_now,
    )
    return Serving(kube, settings.namespace, api, settings.metrics_port, check_lease)


def utc_now() -> datetime.datetime:
    """The time that certificates and timestamps go by."""
    return datetime.datetime.now(datetime.UTC)


def _names_of(namespace: str) -> list[str]:
    service = f"{names.METRICS_SERVICE}.{namespace}.svc"
    return [service, f"{service}.cluster.local"]


def _asks(check: Callable[[], None]) -> Callable[[], bool]:
    def leads() -> bool:
        try:
            check()
        except NotLeading:
            return False
        return True

    return leads
