"""Compares the indexes with the API server now and then: what a watch lost while it was cut off is found here.

kopf lists anew when the history that it would resume from is gone, but it does not drop what the new listing lacks.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

from switchboard_kube import (
    AGENT_NODES,
    AGENTS,
    CONFIG_MAPS,
    DEPLOYMENTS,
    DISRUPTION_BUDGETS,
    HORIZONTAL_AUTOSCALERS,
    PODS,
    SERVICE_ACCOUNTS,
    SERVICES,
    ApiError,
    Kube,
    Selector,
)
from switchboard_operator.executing import Later
from switchboard_operator.snapshot import Indexes
from switchboard_wire import names

log = logging.getLogger(__name__)

# Rare enough to cost nothing, often enough that a ghost does not live for a day
AUDIT_S: Final = 900.0
# Events that are on their way have arrived by then
SETTLE_S: Final = 10.0

_OURS: Final = (AGENT_NODES, AGENTS)
# What AgentNodes own. A Service that is gone and still held would never be made anew
_LABELLED: Final = (
    PODS, DEPLOYMENTS, HORIZONTAL_AUTOSCALERS, DISRUPTION_BUDGETS, SERVICES, CONFIG_MAPS, SERVICE_ACCOUNTS
)  # fmt: skip

Look = Callable[[Callable[[Indexes], set[str]]], Awaitable[set[str]]]


class Restartable(Protocol):
    """The watches, as far as an audit needs them."""

    async def look(self, read: Callable[[Indexes], set[str]]) -> set[str]:
        """The value of `read` over the indexes."""
        ...

    def restart(self) -> None:
        """Forget everything and list anew."""
        ...


async def audit_for_ever(kube: Kube, watches: Restartable, namespaces: tuple[str, ...], rng: random.Random) -> None:
    """Audit until cancelled."""
    while True:
        await asyncio.sleep(AUDIT_S * rng.uniform(0.8, 1.2))
        try:
            await audit_once(kube, watches, namespaces, SETTLE_S)
        except (ApiError, Later) as error:
            log.info("no audit now: %s", error)


async def audit_once(kube: Kube, watches: Restartable, namespaces: tuple[str, ...], settle_s: float) -> bool:
    """Restart the watches when they miss or keep what they should not, twice in a row; whether they did not."""
    first = await _difference(kube, watches, namespaces)
    if not first:
        return True
    await asyncio.sleep(settle_s)
    lasting = first & await _difference(kube, watches, namespaces)
    if not lasting:
        return True
    log.warning("the watches have lost events, listing anew", extra={"objects": len(lasting)})
    watches.restart()
    return False


async def _difference(kube: Kube, watches: Restartable, namespaces: tuple[str, ...]) -> set[str]:
    held = await watches.look(_uids)
    found: set[str] = set()
    for namespace in namespaces or (None,):
        for resource in _OURS:
            found |= await kube.uids(resource, Selector(namespace))
        for resource in _LABELLED:
            found |= await kube.uids(resource, Selector(namespace, labels=names.NODE_LABEL))
    return held ^ found


def _uids(indexes: Indexes) -> set[str]:
    kept = (indexes.nodes, indexes.agents, indexes.children)
    uids = {held.meta.uid for index in kept for stored in index.values() for held in stored}
    return uids | {pod.uid for pods in indexes.pods.values() for pod in pods}
