"""The authorities' Secret: the leader writes it, every replica reads it and signs for itself, by one keeper each."""

import asyncio
import datetime
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from switchboard_kube import SECRETS, ApiError, Conflict, Json, Kube, NotFound
from switchboard_operator import metrics
from switchboard_operator.authority import (
    SETTLED,
    Authority,
    bundle_of,
    choose_signer,
    read_authorities,
    renew,
    write_authorities,
)
from switchboard_wire import names

log = logging.getLogger(__name__)

SECRET: Final = "switchboard-ca"  # an annotation on it asks for a successor: names.ROTATE_ANNOTATION
# Well below the time that a successor waits before it signs; and who asks for one sees it soon
READ_S: Final = 15.0
# Until there is one, nothing can be served
ABSENT_S: Final = 1.0

UtcNow = Callable[[], datetime.datetime]


@dataclass(frozen=True, slots=True)
class Keeping:
    """Where an own authority is kept. leads: whether this replica may write. settled: how long a new CA is known before
    it signs."""

    kube: Kube
    namespace: str
    leads: Callable[[], bool]
    settled: datetime.timedelta = SETTLED


class AuthorityKeeper:
    """What the Secret holds, the newest authority first. All in `changed` are called whenever it is another."""

    def __init__(self, keeping: Keeping) -> None:
        self.keeping = keeping
        self.authorities: tuple[Authority, ...] = ()
        self.changed: list[Callable[[], None]] = []
        self._refreshing = asyncio.Lock()  # of two at once, one would find the other's writes

    @property
    def bundle(self) -> bytes:
        """The certificates of all of them, as PEM; empty while there is none."""
        return bundle_of(self.authorities)

    def choose_signer(self, now: datetime.datetime) -> Authority | None:
        """Which of them signs now; None while there is none."""
        return choose_signer(self.authorities, now, self.keeping.settled) if self.authorities else None

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
        async with self._refreshing:
            await self._refresh(now)

    async def _refresh(self, now: datetime.datetime) -> None:
        held = await self._read()
        try:
            authorities = read_authorities(held.get("data") or {}) if held else ()
        except ValueError as error:
            raise ValueError(f"Secret {SECRET}: {error}; delete it to have a new one made") from error
        asked = names.ROTATE_ANNOTATION in (((held or {}).get("metadata") or {}).get("annotations") or {})
        wanted = renew(authorities, now, asked=asked, settled=self.keeping.settled)
        if wanted != authorities:
            if self.keeping.leads():
                await self._write(held, wanted)
                authorities = wanted
            elif not authorities:
                return
        if bundle_of(authorities) != bundle_of(self.authorities):
            self.authorities = authorities
            for changed in self.changed:
                changed()

    async def _read(self) -> Json | None:
        try:
            return await self.keeping.kube.get(SECRETS, SECRET, self.keeping.namespace)
        except NotFound:
            return None

    async def _write(self, held: Json | None, authorities: tuple[Authority, ...]) -> None:
        """Create or replace that very version: of two who believe that they lead, one fails."""
        kube, namespace = self.keeping.kube, self.keeping.namespace
        data = write_authorities(authorities)
        try:
            if held is None:
                labels = {names.MANAGED_BY_LABEL: names.MANAGED_BY}
                metadata = {"name": SECRET, "namespace": namespace, "labels": labels}
                await kube.create(SECRETS, {"metadata": metadata, "type": "Opaque", "data": data})
            else:
                await kube.update(SECRETS, _without_request(held) | {"data": data})
        except Conflict as error:
            raise ValueError(f"another replica was faster: {error}") from error
        metrics.WRITES.labels("apply", SECRETS.kind).inc()
        log.info("made a certificate authority", extra={"secret": SECRET, "authorities": len(authorities)})


def _without_request(held: Json) -> Json:
    """The Secret without the annotation that asked for a successor."""
    metadata = held["metadata"]
    kept = {key: value for key, value in (metadata.get("annotations") or {}).items() if key != names.ROTATE_ANNOTATION}
    return held | {"metadata": metadata | {"annotations": kept}}
