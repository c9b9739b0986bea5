"""Watches over the list of Agents: first all of it, then what has changed. The deciding part of them is pure."""

import asyncio
from collections.abc import AsyncGenerator, Iterator, Mapping
from typing import Final, TypeVar

from switchboard_gateway.core import Core
from switchboard_gateway.listing import AgentKey, Listing
from switchboard_wire.errors import failure
from switchboard_wire.v1 import frames_pb2 as pb
from switchboard_wire.v1 import gateway_pb2 as api

T = TypeVar("T")

# A pool that rolls changes some times a second: one update tells of all that came within this time
COALESCE_S: Final = 0.1
# Each holds references to what it told last, some 100 bytes an Agent, and costs a comparison per change
MAX_WATCHERS: Final = 1000
# Agents of one message: some 200 bytes each, with the longest description 2 KiB, so that it stays under 1 MiB
MAX_PART: Final = 400


class Teller:
    """Knows what one watcher has been told, and so what is news to it. Pure."""

    __slots__ = ("_told",)

    def __init__(self) -> None:
        self._told: Mapping[AgentKey, api.AgentSummary] | None = None

    def tell(self, found: Mapping[AgentKey, api.AgentSummary]) -> list[api.AgentsUpdate]:
        """The messages that bring the watcher up to date; none when it is. The last of them is `complete`."""
        told, self._told = self._told, found
        known = told or {}
        changed = [summary for key, summary in found.items() if known.get(key) != summary]
        removed = [api.AgentRef(namespace=place, name=name) for place, name in known if (place, name) not in found]
        if told is not None and not changed and not removed:
            return []
        parts = [api.AgentsUpdate(changed=part) for part in _parts(changed)]
        parts += [api.AgentsUpdate(removed=part) for part in _parts(removed)]
        parts = parts or [api.AgentsUpdate()]
        parts[-1].complete = True
        return parts


def _parts(items: list[T]) -> Iterator[list[T]]:
    for start in range(0, len(items), MAX_PART):
        yield items[start : start + MAX_PART]


class Watches:
    """Every watch of one gateway."""

    __slots__ = ("_core", "_listing", "_open")

    def __init__(self, core: Core, listing: Listing) -> None:
        self._core = core
        self._listing = listing
        self._open = 0

    async def updates(self, request: api.ListAgentsRequest) -> AsyncGenerator[api.AgentsUpdate, None]:
        """Updates for one watcher, for ever. While it does not take one, what changes meanwhile waits as state.

        Raises SwitchboardError: a filter is wrong, or too many watch.
        """
        if self._open >= MAX_WATCHERS:
            raise failure(pb.OVERLOADED, f"{MAX_WATCHERS} watches are open here already", retry_after_ms=1000)
        self._open += 1
        try:
            changes, teller = self._core.table.changes, Teller()
            while True:
                seen = changes.version
                for update in teller.tell(self._listing.find(request, self._core.namespace)):
                    yield update
                await changes.wait(seen)
                await asyncio.sleep(COALESCE_S)
        finally:
            self._open -= 1
