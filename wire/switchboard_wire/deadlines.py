"""Many deadlines, one timer: a hashed timing wheel (Varghese and Lauck, 1987, scheme 6) with 20 ms slots.

A timer per call costs more than the call's routing; most calls are answered long before their deadline.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable

log = logging.getLogger(__name__)

SLOT_S = 0.02

Expire = Callable[[], None]
Token = tuple[int, int]


class Wheel:
    """Pure part: what is due when. Times are seconds of one monotonic clock."""

    __slots__ = ("_next_id", "_next_slot", "_slots")

    def __init__(self, now: float) -> None:
        self._slots: dict[int, dict[int, Expire]] = {}
        self._next_id = 0
        self._next_slot = int(now / SLOT_S)

    def __len__(self) -> int:
        return len(self._slots)

    def add(self, when: float, expire: Expire) -> Token:
        """Have `expire` returned by `due` at or up to one slot after `when`."""
        slot = max(int(when / SLOT_S) + 1, self._next_slot)
        self._next_id = number = self._next_id + 1
        found = self._slots.get(slot)
        if found is None:
            self._slots[slot] = {number: expire}
        else:
            found[number] = expire
        return slot, number

    def remove(self, token: Token) -> None:
        """Forget a deadline; one that is gone already is fine."""
        found = self._slots.get(token[0])
        if found is not None:
            found.pop(token[1], None)

    def due(self, now: float) -> list[Expire]:
        """Take everything whose time has come."""
        current = int(now / SLOT_S)
        taken: list[Expire] = []
        if not self._slots:
            self._next_slot = current + 1
            return taken
        for slot in self._until(current):
            taken.extend(self._slots.pop(slot, {}).values())
        self._next_slot = max(self._next_slot, current + 1)
        return taken

    def _until(self, current: int) -> Iterable[int]:
        """The slots whose time has come, or more: after a quiet time there are far fewer of them than slots passed."""
        if current - self._next_slot < len(self._slots):
            return range(self._next_slot, current + 1)
        return sorted([slot for slot in self._slots if slot <= current])


class Deadlines:
    """The wheel on the running loop's clock. One per process; it ticks only while something waits."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._now = self._loop.time
        self._wheel = Wheel(self._now())
        self._ticking = False

    def add(self, delay_s: float, expire: Expire) -> Token:
        """Call `expire` on the loop after `delay_s`, up to 40 ms late."""
        token = self._wheel.add(self._now() + delay_s, expire)
        if not self._ticking:
            self._ticking = True
            self._loop.call_later(SLOT_S, self._tick)
        return token

    def remove(self, token: Token) -> None:
        self._wheel.remove(token)

    def _tick(self) -> None:
        for expire in self._wheel.due(self._now()):
            try:
                expire()
            except Exception:  # the deadlines of all other calls depend on this tick
                log.exception("a deadline's callback failed")
        self._ticking = bool(len(self._wheel))
        if self._ticking:
            self._loop.call_later(SLOT_S, self._tick)
