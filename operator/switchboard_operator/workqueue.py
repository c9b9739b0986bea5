"""The queue of objects to look at: each once at a time, however often it was named; failures wait longer each time.

Keys of different kinds stand in lanes of their own, so that ten thousand of one kind keep none of the other waiting.
"""

import asyncio
import contextlib
import heapq
import itertools
import random
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
from typing import Final, Generic, TypeVar

K = TypeVar("K", bound=Hashable)

FIRST_RETRY_S: Final = 0.25
LONGEST_RETRY_S: Final = 60.0
# While many objects change, one that was looked at just now waits, so that what follows within that time is one look.
# Nobody waits as long as few are looked at; beyond those, each second has so many looks
FEW: Final = 10
LOOKS_PER_S: Final = 60
LONGEST_REST_S: Final = 2.0


class WorkQueue(Generic[K]):
    """Keys that are due. Owned by one event loop; stands still until `release`d and after `hold`."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._due: dict[K, float] = {}
        self._heap: list[tuple[float, int, K]] = []
        self._order = itertools.count()
        self._active: set[K] = set()
        self._failures: dict[K, int] = {}
        self._looked: OrderedDict[K, float] = OrderedDict()  # the newest last
        self._changed = asyncio.Event()
        self._held = True

    def __len__(self) -> int:
        return len(self._due)

    def hold(self) -> None:
        """Hand out nothing until released; keys are still taken."""
        self._held = True

    def release(self) -> None:
        """Hand out what is due."""
        self._held = False
        self._changed.set()

    def clear(self) -> None:
        """Forget every key that is waiting."""
        self._due.clear()
        self._heap.clear()
        self._failures.clear()

    def add(self, key: K, delay_s: float = 0.0) -> None:
        """Have the key looked at in `delay_s`, or earlier when that was asked for before."""
        due = asyncio.get_running_loop().time() + delay_s
        if key in self._due and self._due[key] <= due:
            return
        self._due[key] = due
        heapq.heappush(self._heap, (due, next(self._order), key))
        self._changed.set()

    def add_gently(self, key: K, delay_s: float = 0.0) -> None:
        """As `add`, but while many are looked at, none is again before it has rested."""
        looked = self._looked.get(key)
        if looked is not None:
            rest = min(LONGEST_REST_S, max(0, len(self._looked) - FEW) / LOOKS_PER_S)
            delay_s = max(delay_s, looked + rest - asyncio.get_running_loop().time())
        self.add(key, delay_s)

    def retry(self, key: K, at_least_s: float = 0.0) -> float:
        """Have the key looked at after its back-off; returns the pause."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        ceiling = min(LONGEST_RETRY_S, FIRST_RETRY_S * 2.0 ** min(failures, 16))
        pause = max(at_least_s, self._rng.uniform(ceiling / 2, ceiling))
        self.add(key, pause)
        return pause

    def succeeded(self, key: K) -> None:
        """The next failure of this key is its first."""
        self._failures.pop(key, None)

    async def get(self) -> K:
        """The next key that is due; nobody else gets it until it is `done`."""
        while True:
            self._changed.clear()
            wait = self._next()
            if not isinstance(wait, float):
                return wait
            # Not wait_for: in Python 3.11 it loses a cancellation that comes together with the event
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait if wait >= 0 else None):
                    await self._changed.wait()

    def done(self, key: K) -> None:
        """The key may be handed out again."""
        self._active.discard(key)
        self._changed.set()

    def _next(self) -> K | float:
        """A key that is due, or the time until the next one; negative: none."""
        if self._held:
            return -1.0
        now = asyncio.get_running_loop().time()
        postponed: list[tuple[float, int, K]] = []
        found: K | float = -1.0
        while self._heap:
            entry = heapq.heappop(self._heap)
            due, _, key = entry
            if self._due.get(key) != due:
                continue  # it was asked for earlier than this entry says, or handed out
            if key in self._active:
                postponed.append(entry)
            elif due > now:
                postponed.append(entry)
                found = due - now
                break
            else:
                del self._due[key]
                self._active.add(key)
                self._remember(key, now)
                found = key
                break
        for entry in postponed:
            heapq.heappush(self._heap, entry)
        return found

    def _remember(self, key: K, now: float) -> None:
        self._looked[key] = now
        self._looked.move_to_end(key)
        while now - next(iter(self._looked.values())) > LONGEST_REST_S:
            self._looked.popitem(last=False)


class Lanes(Generic[K]):
    """A queue for each kind of key, as one to those who name keys."""

    def __init__(self, kinds: Iterable[str], kind_of: Callable[[K], str], rng: random.Random) -> None:
        self._kind_of = kind_of
        self._lanes: dict[str, WorkQueue[K]] = {kind: WorkQueue(rng) for kind in kinds}

    def __len__(self) -> int:
        return sum(map(len, self._lanes.values()))

    def lanes(self) -> Iterable[WorkQueue[K]]:
        """Each of them, for its own workers."""
        return self._lanes.values()

    def hold(self) -> None:
        """Hand out nothing until released; keys are still taken."""
        for lane in self._lanes.values():
            lane.hold()

    def release(self) -> None:
        """Hand out what is due."""
        for lane in self._lanes.values():
            lane.release()

    def clear(self) -> None:
        """Forget every key that is waiting."""
        for lane in self._lanes.values():
            lane.clear()

    def add(self, key: K, delay_s: float = 0.0) -> None:
        """Have the key looked at in `delay_s`, or earlier when that was asked for before."""
        self._lanes[self._kind_of(key)].add(key, delay_s)

    def add_gently(self, key: K, delay_s: float = 0.0) -> None:
        """As `add`, but while many are looked at, none is again before it has rested."""
        self._lanes[self._kind_of(key)].add_gently(key, delay_s)
