"""The work on the queue: workers that reconcile, and what puts keys there that no event tells of."""

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable, Coroutine
from typing import Any, Final

from switchboard_kube import ApiError, Conflict, NotFound
from switchboard_operator import metrics
from switchboard_operator.executing import Later
from switchboard_operator.lease import NotLeading
from switchboard_operator.pacing import Key
from switchboard_operator.reconciling import Reconciler
from switchboard_operator.registry import Registry, state_of
from switchboard_operator.snapshot import Indexes
from switchboard_operator.watching import Watches
from switchboard_operator.workqueue import Lanes, WorkQueue
from switchboard_wire import names

log = logging.getLogger(__name__)

# Of AgentNodes, and as many of Agents: reconciles wait for the API server most of their time
WORKERS: Final = 8
# How soon an instance that fell silent is noticed, beyond its own patience
SWEEP_S: Final = 1.0
# By then the lease is renewed, or known to be lost
RENEWED_S: Final = 2.0
# What waits for the end of a fleet is all that is left of it
FREE_S: Final = 0.2
# Records of pods that are gone are small
FORGET_S: Final = 30.0
# What no event tells: repaired by and by
RESYNC_S: Final = 300.0


class Working:
    """Of one replica; the queue stands still while it does not lead. leads: whether it does, late renewals or not."""

    def __init__(
        self,
        queue: Lanes[Key],
        reconciler: Reconciler,
        registry: Registry,
        watches: Watches,
        rng: random.Random,
        leads: Callable[[], bool],
    ) -> None:
        self._queue = queue
        self._reconciler = reconciler
        self._registry = registry
        self._watches = watches
        self._rng = rng
        self._leads = leads

    def jobs(self) -> list[Coroutine[Any, Any, None]]:
        """What runs as long as the replica does."""
        return [
            self._sweep(),
            self._free(),
            self._resync(),
            *(self._work(lane) for lane in self._queue.lanes() for _ in range(WORKERS)),
        ]

    async def _work(self, lane: WorkQueue[Key]) -> None:
        while True:
            key = await lane.get()
            try:
                await self._reconcile(key, lane)
            finally:
                lane.done(key)
                metrics.QUEUE_LENGTH.set(len(self._queue))

    async def _reconcile(self, key: Key, lane: WorkQueue[Key]) -> None:
        """One reconcile with its outcome: done, later, or again after a back-off."""
        outcome = "retry"
        with metrics.RECONCILE_SECONDS.labels(key[0]).time():
            try:
                again = await self._reconciler.reconcile(key)
            except NotLeading:
                # Stays in the queue, which stands still until this replica leads
                lane.add(key, RENEWED_S)
            except Later as later:
                lane.add(key, later.delay_s)
            except NotFound as error:
                # It was deleted meanwhile: its event says so soon. If it is something else, resync comes back to it
                log.debug("gone: %s", error, extra={"key": key})
            except Conflict as error:
                log.info("another writer was faster", extra={"key": key, "error": str(error)})
                lane.retry(key)
            except ApiError as error:
                pause = lane.retry(key, error.retry_after_s or 0.0)
                log.warning("reconcile failed", extra={"key": key, "error": str(error), "again_in_s": round(pause, 1)})
            except Exception:
                outcome = "error"
                pause = lane.retry(key)
                log.exception("reconcile failed unexpectedly", extra={"key": key, "again_in_s": round(pause, 1)})
            else:
                outcome = "ok"
                lane.succeeded(key)
                if again is not None:
                    lane.add(key, again)
        metrics.RECONCILES.labels(key[0], outcome).inc()

    async def _sweep(self) -> None:
        """Have AgentNodes looked at whose instances say or lack something new."""
        told: dict[str, object] = {}
        grace, forgot = True, 0.0
        while True:
            await asyncio.sleep(SWEEP_S)
            now = asyncio.get_running_loop().time()
            for uid, pool, signature in self._registry.signatures(now):
                if told.get(uid) != signature:
                    told[uid] = signature
                    self._queue.add_gently((names.AGENT_NODE, *pool))
            self._count_instances(now)
            if grace and not self._registry.in_grace(now):
                grace = not await self.add_all()
            if now - forgot > FORGET_S:
                forgot = now
                with contextlib.suppress(Later):
                    for uid in self._registry.forget(now, await self._watches.look(_pod_uids)):
                        told.pop(uid, None)

    async def _free(self) -> None:
        """Have AgentNodes looked at whose assignments have waited for a fleet that has come by now."""
        while True:
            await asyncio.sleep(FREE_S)
            for key in self._reconciler.calmed(asyncio.get_running_loop().time()):
                self._queue.add(key)

    async def _resync(self) -> None:
        while True:
            await asyncio.sleep(RESYNC_S * self._rng.uniform(0.8, 1.2))
            await self.resync()

    async def resync(self) -> None:
        """Name everything anew. A standby forgets what was named, or it would keep all that ever was."""
        if self._leads():
            await self.add_all()
        else:
            self._queue.clear()

    async def add_all(self) -> bool:
        """Have every AgentNode and Agent looked at; whether they could be named: not while the watches begin."""
        try:
            keys = await self._watches.look(_all_keys)
        except Later:
            return False
        for key in keys:
            self._queue.add(key)
        return True

    def _count_instances(self, now: float) -> None:
        counts = dict.fromkeys(("Starting", "Up", "Degraded", "Draining", "Down"), 0)
        for pool in self._registry.pools():
            for record in self._registry.of(pool).values():
                counts[state_of(record, self._registry.patience(pool), now)] += 1
        for state, count in counts.items():
            metrics.INSTANCES.labels(state).set(count)


def _all_keys(indexes: Indexes) -> list[Key]:
    nodes = [(names.AGENT_NODE, *name) for name in indexes.nodes]
    return nodes + [(names.AGENT, *name) for name in indexes.agents]


def _pod_uids(indexes: Indexes) -> set[str]:
    return {pod.uid for pods in indexes.pods.values() for pod in pods}
