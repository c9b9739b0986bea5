"""Leadership by a Lease: one replica writes, and knows by its own clock when it no longer may.

Renewals of others are dated by when this process saw them, never by their own clocks.
"""

import asyncio
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from switchboard_kube import LEASES, ApiError, Conflict, Kube, NotFound

log = logging.getLogger(__name__)

NAME: Final = "switchboard-operator"
# As client-go: a leader gives up before anybody else may take over, and a dead one is replaced in under 20 s
DURATION_S: Final = 15.0
RENEW_DEADLINE_S: Final = 10.0
RETRY_S: Final = 2.0
# A process that ends waits no longer than this for an API server that does not answer
GIVE_BACK_S: Final = 3.0


@dataclass(frozen=True, slots=True)
class Sighting:
    """A Lease as it was first seen in this form, and when."""

    holder: str
    renewed: str
    transitions: int
    seen: float


def sight(lease: dict[str, Any], before: Sighting | None, now: float) -> Sighting:
    """What the Lease says; the time stays that of the first sight while holder and renewal are the same."""
    spec = lease.get("spec") or {}
    holder, renewed = spec.get("holderIdentity") or "", spec.get("renewTime") or ""
    if before is not None and (before.holder, before.renewed) == (holder, renewed):
        return before
    return Sighting(holder, renewed, spec.get("leaseTransitions") or 0, now)


def may_take(sighting: Sighting, identity: str, now: float) -> bool:
    """Whether the Lease is ours, nobody's, or its holder has not renewed it for its whole duration."""
    return sighting.holder in ("", identity) or now - sighting.seen > DURATION_S


class NotLeading(Exception):
    """This replica may not write now."""


class Elector:
    """Holds the Lease when it can. `changed` is called with True and False, in this loop."""

    def __init__(self, kube: Kube, namespace: str, identity: str, changed: Callable[[bool], None]) -> None:
        self._kube, self._namespace, self._identity, self._changed = kube, namespace, identity, changed
        self._sighting: Sighting | None = None
        self._renewed = float("-inf")
        self._leads = False

    @property
    def holds(self) -> bool:
        """What `changed` was told last: whether it leads, though perhaps it may not write while a renewal is late."""
        return self._leads

    @property
    def leads(self) -> bool:
        """Whether this replica may write at this very moment."""
        return self._leads and asyncio.get_running_loop().time() - self._renewed < RENEW_DEADLINE_S

    def check(self) -> None:
        """Raise NotLeading unless this replica may write at this very moment."""
        if not self.leads:
            raise NotLeading

    async def run(self, rng: random.Random, utc_now: Callable[[], str]) -> None:
        """Try for ever; give the Lease back when cancelled."""
        try:
            while True:
                await self._try_once(utc_now())
                await asyncio.sleep(RETRY_S * rng.uniform(0.8, 1.2))
        finally:
            if self._leads:
                await asyncio.shield(self._give_back())

    async def _try_once(self, utc_now: str) -> None:
        started = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(RENEW_DEADLINE_S / 2):
                won = await self._take_or_renew(started, utc_now)
        except (ApiError, TimeoutError) as error:
            if not isinstance(error, Conflict):
                reason = str(error) or f"no answer within {RENEW_DEADLINE_S / 2:g} s"
                log.warning("the lease cannot be read or renewed: %s", reason)
            # Until the deadline the Lease is still ours: nobody else takes it before it has run out. A conflict may be
            # with a renewal of ours that came late; the next try reads who holds it
            won = self._leads and started - self._renewed < RENEW_DEADLINE_S
            self._tell(won)
            return
        if won:
            # By when the request was sent: the others count from when they saw it, which is later
            self._renewed = started
        self._tell(won)

    async def _take_or_renew(self, now: float, utc_now: str) -> bool:
        spec = {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": int(DURATION_S),
            "renewTime": utc_now,
        }
        try:
            lease = await self._kube.get(LEASES, NAME, self._namespace)
        except NotFound:
            metadata = {"name": NAME, "namespace": self._namespace}
            fresh = {"metadata": metadata, "spec": spec | {"acquireTime": utc_now, "leaseTransitions": 0}}
            await self._kube.create(LEASES, fresh)
            return True
        self._sighting = sight(lease, self._sighting, now)
        if not may_take(self._sighting, self._identity, now):
            return False
        if self._sighting.holder != self._identity:
            spec |= {"acquireTime": utc_now, "leaseTransitions": self._sighting.transitions + 1}
        await self._kube.update(LEASES, lease | {"spec": {**(lease.get("spec") or {}), **spec}})
        return True

    async def _give_back(self) -> None:
        """Let a successor start at once."""
        self._tell(False)
        try:
            async with asyncio.timeout(GIVE_BACK_S):
                lease = await self._kube.get(LEASES, NAME, self._namespace)
                if (lease.get("spec") or {}).get("holderIdentity") == self._identity:
                    await self._kube.update(LEASES, lease | {"spec": {**lease["spec"], "holderIdentity": ""}})
        except (ApiError, TimeoutError) as error:
            log.info("the lease was not given back: %s", error)

    def _tell(self, leads: bool) -> None:
        if leads != self._leads:
            self._leads = leads
            log.info("this replica leads now" if leads else "this replica does not lead any more")
            self._changed(leads)
