"""Who may enter the host, who waits, who is turned away. Pure: no clock, no I/O.

Two bounds hold at once: messages inside the host (the AgentNode's `concurrency`) and messages inside one Agent (its
own). Beyond them at most `queue_length` calls wait, by priority and then in order of arrival; the next is refused. What
they keep of their payloads is bounded too, whatever their number.

A nested call is let in over the bounds when one of the agents that wait for it holds a slot here: the slot's owner
cannot finish before it, so making it wait would be a deadlock (A → B → A at concurrency 1). The hop limit ends loops.
"""

from bisect import bisect_left, insort
from collections.abc import Iterable, Mapping
from typing import Final, Generic, TypeVar

DEFAULT_CONCURRENCY: Final = 16
DEFAULT_QUEUE_LENGTH: Final = 100
# Of the payloads of calls that wait: a hundred full first frames, in a sidecar that asks for 96 MiB
MAX_QUEUED_BYTES: Final = 16 * 1024 * 1024
# What a caller is told before the first answer has shown how long one takes
FIRST_GUESS_S: Final = 0.1
MIN_RETRY_AFTER_MS: Final = 10
MAX_RETRY_AFTER_MS: Final = 10_000
# Weight of the newest answer in the moving average: about the last twenty count
EWMA_WEIGHT: Final = 0.1

Item = TypeVar("Item")
Ticket = tuple[int, int]  # (minus priority, number of arrival): the order of service


class Lane(Generic[Item]):
    """One Agent's share. concurrency: 0 means the node's bound alone. average_s: moving average of processing."""

    __slots__ = ("average_s", "concurrency", "in_flight", "waiting")

    def __init__(self, concurrency: int = 0) -> None:
        self.concurrency = concurrency or 1 << 30
        self.in_flight = 0
        self.average_s = 0.0
        self.waiting: list[tuple[int, int, Item]] = []

    def limit(self, concurrency: int) -> None:
        self.concurrency = concurrency or 1 << 30

    def answered(self, took_s: float) -> None:
        """Account for the time one answer took."""
        if self.average_s:
            self.average_s += (took_s - self.average_s) * EWMA_WEIGHT
        else:
            self.average_s = took_s


class Admission(Generic[Item]):
    """The node's bounds, and the queue over all lanes. queued_bytes: of the payloads that wait."""

    __slots__ = (
        "_arrivals",
        "_busy",
        "_sizes",
        "concurrency",
        "in_flight",
        "max_bytes",
        "queue_length",
        "queued",
        "queued_bytes",
    )

    def __init__(
        self,
        concurrency: int = DEFAULT_CONCURRENCY,
        queue_length: int = DEFAULT_QUEUE_LENGTH,
        max_bytes: int = MAX_QUEUED_BYTES,
    ) -> None:
        self.concurrency = concurrency
        self.queue_length = queue_length
        self.max_bytes = max_bytes
        self.queued_bytes = 0
        self._sizes: dict[int, int] = {}  # by number of arrival
        self.in_flight = 0
        self.queued = 0
        self._arrivals = 0
        self._busy: dict[int, Lane[Item]] = {}  # lanes in which somebody waits, by id()

    def has_room(self, lane: Lane[Item]) -> bool:
        """Whether a call of this lane could enter now."""
        return self.in_flight < self.concurrency and lane.in_flight < lane.concurrency

    def enter(self, lane: Lane[Item]) -> None:
        """Take a slot, whether there is room or not: the caller has decided."""
        self.in_flight += 1
        lane.in_flight += 1

    def leave(self, lane: Lane[Item]) -> None:
        """Give a slot back. Then take `next` until it is None."""
        self.in_flight -= 1
        lane.in_flight -= 1

    def wait(self, lane: Lane[Item], priority: int, item: Item, size: int = 0) -> Ticket | None:
        """Queue `item`, which keeps `size` bytes; None when the queue is full."""
        if self.queued >= self.queue_length or self.queued_bytes + size > self.max_bytes:
            return None
        self._arrivals += 1
        self._sizes[self._arrivals] = size
        self.queued_bytes += size
        self.queued += 1
        insort(lane.waiting, (-priority, self._arrivals, item))
        self._busy[id(lane)] = lane
        return -priority, self._arrivals

    def grow(self, ticket: Ticket, size: int) -> bool:
        """One that waits keeps more; False when that is too much, and nothing changed."""
        if self.queued_bytes + size > self.max_bytes:
            return False
        self._sizes[ticket[1]] += size
        self.queued_bytes += size
        return True

    def abandon(self, lane: Lane[Item], ticket: Ticket) -> None:
        """Take one that waits out of the queue: cancelled, or too late."""
        place = bisect_left(lane.waiting, ticket, key=_ticket)
        if place < len(lane.waiting) and lane.waiting[place][:2] == ticket:
            self._take(lane, place)

    def next(self) -> Item | None:
        """The one to let in now, with its slot taken; None when nobody may enter."""
        if self.in_flight >= self.concurrency:
            return None
        first: Lane[Item] | None = None
        for lane in self._busy.values():
            if lane.in_flight < lane.concurrency and (first is None or lane.waiting[0][:2] < first.waiting[0][:2]):
                first = lane
        if first is None:
            return None
        self.enter(first)
        return self._take(first, 0)

    def flush(self, lane: Lane[Item]) -> list[Item]:
        """Empty a lane's queue: its agent is gone from here."""
        items = [item for _, _, item in lane.waiting]
        self.queued -= len(items)
        self.queued_bytes -= sum([self._sizes.pop(arrival) for _, arrival, _ in lane.waiting])
        lane.waiting.clear()
        self._busy.pop(id(lane), None)
        return items

    def retry_after_ms(self, lane: Lane[Item]) -> int:
        """When another try makes sense: the time until what waits now has been worked off."""
        lanes = min(self.concurrency, lane.concurrency)
        wait_s = (lane.average_s or FIRST_GUESS_S) * (self.queued + 1) / max(lanes, 1)
        return min(max(int(wait_s * 1000), MIN_RETRY_AFTER_MS), MAX_RETRY_AFTER_MS)

    def _take(self, lane: Lane[Item], place: int) -> Item:
        self.queued -= 1
        _, arrival, item = lane.waiting.pop(place)
        self.queued_bytes -= self._sizes.pop(arrival)
        if not lane.waiting:
            del self._busy[id(lane)]
        return item


def _ticket(entry: tuple[int, int, object]) -> Ticket:
    return entry[:2]


def waits_for_itself(chain: Iterable[str], lanes: Mapping[str, Lane[Item]]) -> bool:
    """Whether an agent that waits for this call holds a slot here. chain: agent ids; lanes: by type."""
    for agent_id in chain:
        lane = lanes.get(agent_id.partition("/")[0])
        if lane is not None and lane.in_flight > 0:
            return True
    return False
