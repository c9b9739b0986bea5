"""The caBundle of our APIServices: by it the API server knows that it talks to us. The leader keeps it."""

import base64
import logging
from collections.abc import Callable, Iterable
from typing import Final

from switchboard_kube import API_SERVICES, Kube, NotFound
from switchboard_operator import metrics
from switchboard_operator.metrics_api.documents import VERSIONS
from switchboard_wire import names

log = logging.getLogger(__name__)

SERVICE: Final = names.METRICS_SERVICE


class BundleKeeper:
    """Writes the bundle into the APIServices that point to our Service; those of other providers are left alone."""

    def __init__(self, kube: Kube, namespace: str, groups: Iterable[str], check_lease: Callable[[], None]) -> None:
        self._kube, self._namespace, self._groups, self._check_lease = kube, namespace, tuple(groups), check_lease

    async def keep(self, bundle: bytes) -> None:
        """Write where it differs; raises NotLeading and ApiError."""
        wanted = base64.b64encode(bundle).decode()
        for group in self._groups:
            name = f"{VERSIONS[group]}.{group}"
            try:
                held = await self._kube.get(API_SERVICES, name)
            except NotFound:
                continue
            spec = held.get("spec") or {}
            service = spec.get("service") or {}
            ours = (service.get("namespace"), service.get("name")) == (self._namespace, SERVICE)
            if not ours or spec.get("caBundle") == wanted:
                continue
            self._check_lease()
            await self._kube.patch(API_SERVICES, name, None, {"spec": {"caBundle": wanted}})
            metrics.WRITES.labels("patch", API_SERVICES.kind).inc()
            log.info("told the API server our certificate authority", extra={"api_service": name})
