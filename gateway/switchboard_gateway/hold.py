"""Calls that wait for an instance, bounded in number and bytes.

First those on which other calls wait in turn, then by priority, then in order of arrival.
"""

from collections import OrderedDict
from typing import Generic, Protocol, TypeVar

from switchboard_gateway.instances import Route


class Waiting(Protocol):
    """A call, as the hold sees it."""

    @property
    def route(self) -> Route: ...

    @property
    def rank(self) -> tuple[bool, int]:
        """Whether other calls wait for it, and its priority."""


W = TypeVar("W", bound=Waiting)


class Hold(Generic[W]):
    """calls: those that wait, with the bytes that each keeps. bytes: of all."""

    __slots__ = ("_max_bytes", "_max_calls", "_queues", "bytes", "calls")

    def __init__(self, max_calls: int, max_bytes: int) -> None:
        self._max_calls = max_calls
        self._max_bytes = max_bytes
        self._queues: dict[Route, dict[tuple[bool, int], OrderedDict[W, None]]] = {}
        self.calls: dict[W, int] = {}
        self.bytes = 0

    def has(self, route: Route) -> bool:
        """Whether a call for this Agent waits."""
        return route in self._queues

    def __len__(self) -> int:
        return len(self.calls)

    def add(self, call: W, size: int) -> bool:
        """Keep a call that does not wait yet; False when too much waits already."""
        if len(self.calls) >= self._max_calls or self.bytes + size > self._max_bytes:
            return False
        self.calls[call] = size
        self.bytes += size
        self._queues.setdefault(call.route, {}).setdefault(call.rank, OrderedDict())[call] = None
        return True

    def grow(self, call: W, size: int) -> bool:
        """More of a call's payload came while it waits; False when that is too much."""
        if call not in self.calls:
            return True
        if self.bytes + size > self._max_bytes:
            return False
        self.calls[call] += size
        self.bytes += size
        return True

    def remove(self, call: W) -> bool:
        """The call no longer waits; whether it did."""
        size = self.calls.pop(call, None)
        if size is None:
            return False
        self.bytes -= size
        queues = self._queues[call.route]
        queue = queues[call.rank]
        del queue[call]
        if not queue:
            del queues[call.rank]
            if not queues:
                del self._queues[call.route]
        return True

    def take(self, route: Route, *, has_room: bool = True) -> W | None:
        """The next call of one Agent, which no longer waits; None when none does.

        Without room only one on which other calls wait: what takes the room may be waiting for it.
        """
        queues = self._queues.get(route)
        if not queues:
            return None
        first = max(queues)
        if not (has_room or first[0]):
            return None
        call = next(iter(queues[first]))
        self.remove(call)
        return call

    def waiting(self, route: Route) -> tuple[int, int]:
        """How many calls wait for one Agent, and their bytes."""
        calls = [call for queue in self._queues.get(route, {}).values() for call in queue]
        return len(calls), sum([self.calls[call] for call in calls])

    def routes(self) -> list[Route]:
        """The Agents for which calls wait."""
        return list(self._queues)
