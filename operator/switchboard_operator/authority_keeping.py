"""The authorities' Secret: the leader writes it, every replica reads it and signs for itself."""

import asyncio
import datetime
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Final

from switchboard_kube import SECRETS, ApiError, Conflict, Json, Kube, NotFound
from switchboard_operator import metrics
from switchboard_operator.authority import SETTLED, Authority, bundle_of, read_authorities, renew, write_authorities
from switchboard_wire import names

log = logging.getLogger(__name__)

SECRET: Final = "switchboard-ca"  # an annotation on it asks for a successor: names.ROTATE_ANNOTATION
# Well below the time that a successor waits before it signs
READ_S: Final = 60.0
# Until there is one, nothing can be served
ABSENT_S: Final = 1.0

UtcNow = Callable[[], datetime.datetime]


class AuthorityKeeper:
    """What the Secret holds. `changed` is awaited with the authorities, the newest first, whenever they are others."""

    def __init__(
        self,
        kube: Kube,
        namespace: str,
        leads: Callable[[], bool],
        changed: Callable[[tuple[Authority, ...]], Awaitable[None]],
        *,
        settled: datetime.timedelta = SETTLED,
    ) -> None:
        self._kube, self._namespace, self._leads, self._changed = kube, namespace, leads, changed
        self._settled = settled
        self.authorities: tuple[Authority, ...] = ()

    async def run(self, rng: random.Random, utc_now: UtcNow) -> None:
        """Read now and then, for ever; as the leader make what is missing."""
        while True:
            try:
                await self.refresh(utc_now())
            except (ApiError, ValueError) as error:
                log.warning("the certificate authority cannot be read or written: %s", error)
            pause = READ_S if self.authorities else ABSENT_S
            await asyncio.sleep(pause * rng.uniform(0.8, 1.2))

    async def refresh(self, now: datetime.datetime) -> None:
        """Read once; raises ApiError, and ValueError for a Secret that somebody else has written."""
        held = await self._read()
        try:
            authorities = read_authorities(held.get("data") or {}) if held else ()
        except ValueError as error:
            raise ValueError(f"Secret {SECRET}: {error}; delete it to have a new one made") from error
        asked = names.ROTATE_ANNOTATION in (((held or {}).get("metadata") or {}).get("annotations") or {})
        wanted = renew(authorities, now, asked=asked, settled=self._settled)
        if wanted != authorities:
            if self._leads():
                await self._write(held, wanted)
                authorities = wanted
            elif not authorities:
                return
        if bundle_of(authorities) != bundle_of(self.authorities):
            self.authorities = authorities
            await self._changed(authorities)

    async def _read(self) -> Json | None:
        try:
            return await self._kube.get(SECRETS, SECRET, self._namespace)
        except NotFound:
            return None

    async def _write(self, held: Json | None, authorities: tuple[Authority, ...]) -> None:
        """Create or replace that very version: of two who believe that they lead, one fails."""
        data = write_authorities(authorities)
        try:
            if held is None:
                labels = {names.MANAGED_BY_LABEL: names.MANAGED_BY}
                metadata = {"name": SECRET, "namespace": self._namespace, "labels": labels}
                await self._kube.create(SECRETS, {"metadata": metadata, "type": "Opaque", "data": data})
            else:
                await self._kube.update(SECRETS, _without_request(held) | {"data": data})
        except Conflict as error:
            raise ValueError(f"another replica was faster: {error}") from error
        metrics.WRITES.labels("apply", SECRETS.kind).inc()
        log.info("made a certificate authority", extra={"secret": SECRET, "authorities": len(authorities)})


def _without_request(held: Json) -> Json:
    """The Secret without the annotation that asked for a successor."""
    metadata = held["metadata"]
    kept = {key: value for key, value in (metadata.get("annotations") or {}).items() if key != names.ROTATE_ANNOTATION}
    return held | {"metadata": metadata | {"annotations": kept}}
