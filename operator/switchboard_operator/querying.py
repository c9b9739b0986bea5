"""The query API of the registry: who is where, in which state, with how much work. Every replica answers."""

import asyncio
from typing import Any, Final

import grpc

from switchboard_operator.catalog import Catalog, build_catalog, read_world
from switchboard_operator.executing import Later
from switchboard_operator.registry import Registry
from switchboard_operator.watching import Watches
from switchboard_wire.v1.instances_pb2 import InstanceList, InstanceQuery

# Many who ask at once share one look; a heartbeat is 2 s old on average half the time anyway
FRESH_S: Final = 0.5


class QueryService:
    """Answers `Registry/Query`."""

    def __init__(self, watches: Watches, registry: Registry, identity: str) -> None:
        self._watches, self._registry, self._identity = watches, registry, identity
        self._catalog, self._built = Catalog(()), float("-inf")
        self._building = asyncio.Lock()

    async def query(self, query: InstanceQuery, context: Any) -> InstanceList:
        """The instances that match, as this replica knows them."""
        try:
            found = (await self._fresh()).find(query)
        except Later as later:  # it has just started
            await context.abort(grpc.StatusCode.UNAVAILABLE, str(later))
            raise
        found.operator = self._identity
        return found

    async def _fresh(self) -> Catalog:
        async with self._building:
            loop = asyncio.get_running_loop()
            if (now := loop.time()) - self._built > FRESH_S:
                self._catalog = build_catalog(await self._watches.look(read_world), self._registry, now)
                self._built = loop.time()  # or who waited for this would build the next
            return self._catalog
