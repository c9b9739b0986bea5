"""Kubernetes Events when circuits open and close, about the Agent: `kubectl describe` shows them."""

import asyncio
import logging
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from switchboard_gateway.circuit_news import CircuitNews, Key, News
from switchboard_gateway.core import Core
from switchboard_kube import EVENTS, ApiError, Json, Kube
from switchboard_routing.breaker import State
from switchboard_wire import names

log = logging.getLogger("switchboard.gateway.circuits")

CONTROLLER: Final = "switchboard-gateway"
LOOK_S: Final = 1.0
MAX_NOTE: Final = 1024

FindAgent = Callable[[str, str], Json | None]


class CircuitEvents:
    """Posts Events; one that cannot be posted is lost, as Events may be. find: an Agent as it was last seen."""

    def __init__(self, kube: Kube, core: Core, find: FindAgent, identity: str) -> None:
        self._kube = kube
        self._core = core
        self._find = find
        self._identity = identity
        self._news = CircuitNews()
        core.on_circuit = self._changed

    def _changed(self, namespace: str, agent: str) -> None:
        self._news.changed((namespace, agent), self._core.now())

    async def run(self) -> None:
        """Look for ever at what is to be told."""
        while True:
            await asyncio.sleep(LOOK_S)
            for agent in self._news.due(self._core.now()):
                await self._tell(agent)

    async def _tell(self, agent: Key) -> None:
        route, manifest = self._core.table.routes.get(agent), self._find(*agent)
        if route is None or manifest is None:
            self._news.forget(agent)
            return
        now = self._core.now()
        open_ = {i: breaker for i, breaker in route.breakers.items() if breaker.state is not State.CLOSED}
        wait_s = max(0.0, min((breaker.until - now for breaker in open_.values()), default=0.0))
        named = frozenset(instance.name for instance in open_)
        news = self._news.tell(agent, named, len(route.instances), wait_s, now)
        if news is None:
            return
        try:
            await self._kube.create(EVENTS, event_of(manifest, news, self._identity, datetime.now(UTC)))
        except ApiError as error:
            log.info("event not posted", extra={"agent": agent[1], "reason": str(error)})


def event_of(agent: Json, news: News, identity: str, now: datetime) -> Json:
    """The Event about an Agent."""
    metadata = agent["metadata"]
    return {
        "apiVersion": EVENTS.api_version,
        "kind": EVENTS.kind,
        "metadata": {"name": f"{metadata['name'][:200]}.{uuid.uuid4().hex[:16]}", "namespace": metadata["namespace"]},
        "eventTime": now.isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "reportingController": CONTROLLER,
        "reportingInstance": identity[:128] or CONTROLLER,
        "action": "Route",
        "type": "Warning" if news.is_trouble else "Normal",
        "reason": "CircuitOpened" if news.is_trouble else "CircuitClosed",
        "note": news.note[:MAX_NOTE],
        "regarding": {
            "apiVersion": names.API_VERSION,
            "kind": names.AGENT,
            "name": metadata["name"],
            "namespace": metadata["namespace"],
            "uid": metadata.get("uid", ""),
        },
    }
