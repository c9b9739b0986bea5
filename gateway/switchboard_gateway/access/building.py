"""What protects the ports of clients, as the settings ask for it."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

from switchboard_gateway.access.certificate import ClientCertificate
from switchboard_gateway.access.guard import Guard, GuardRules
from switchboard_gateway.access.security import Security
from switchboard_gateway.access.settings import AccessSettings
from switchboard_identity.asking import Count, count_nothing
from switchboard_runtime.background import in_background


@contextlib.asynccontextmanager
async def secure(
    settings: AccessSettings, stop: asyncio.Event, count: Count = count_nothing
) -> AsyncIterator[Security]:
    """The guard and the certificate, kept fresh, while open. count: told of each review. Raises NoCertificate."""
    async with contextlib.AsyncExitStack() as stack:
        guard = None
        if settings.checks:
            guard = await stack.enter_async_context(_guard(settings, count))
        certificate = None
        if settings.tls_folder is not None:
            certificate = ClientCertificate(settings.tls_folder)
            await stack.enter_async_context(in_background([certificate.keep()], stop))
        yield Security(guard, certificate)


@contextlib.asynccontextmanager
async def _guard(settings: AccessSettings, count: Count) -> AsyncIterator[Guard]:
    # Imported here: `switchboard dev` runs the gateway without the Kubernetes client's 40 MB
    from switchboard_identity.kube_reviews import KubeReviews
    from switchboard_kube import connect

    rules = GuardRules(settings.audience, settings.trust_domain, settings.cache_s, settings.outage_s)
    # A connection of its own: reviews do not wait behind lists and watches
    async with connect() as kube:
        yield Guard(KubeReviews(kube), rules, asyncio.get_running_loop().time, time.time, count)
