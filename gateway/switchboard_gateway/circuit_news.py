"""Circuits that changed, gathered into few pieces of news. Pure: `now` is an argument.

An outage opens the circuits of many instances within a moment, and a failing one opens and half-opens for hours: people
need to hear of each Agent once, and then not for a while.
"""

from collections import deque
from dataclasses import dataclass
from typing import Final

# What opens in one moment is one piece of news
GATHER_S: Final = 2.0
# Of one Agent at most once in this time
PAUSE_S: Final = 60.0
# Of all Agents together: the API server is not there for this
MAX_A_MINUTE: Final = 30
# Names in one note
MAX_NAMED: Final = 5

Key = tuple[str, str]  # namespace and name of an Agent


@dataclass(frozen=True, slots=True)
class News:
    """What became of an Agent's circuits since it was last told. is_trouble: more are open than before."""

    is_trouble: bool
    note: str


class CircuitNews:
    """Which Agents' circuits changed since people were told. One task owns it."""

    def __init__(self) -> None:
        self._changed: dict[Key, float] = {}  # since when
        self._told: dict[Key, tuple[float, frozenset[str]]] = {}
        self._times: deque[float] = deque()

    def changed(self, agent: Key, now: float) -> None:
        """A circuit of the Agent opened, half-opened or closed."""
        self._changed.setdefault(agent, now)

    def due(self, now: float) -> list[Key]:
        """The Agents that are to be told of now; of each, `tell` next."""
        while self._times and self._times[0] <= now - 60.0:
            self._times.popleft()
        found = [agent for agent, since in self._changed.items() if now >= self._when(agent, since)]
        return found[: MAX_A_MINUTE - len(self._times)]

    def _when(self, agent: Key, since: float) -> float:
        last, _ = self._told.get(agent, (float("-inf"), frozenset()))
        return max(since + GATHER_S, last + PAUSE_S)

    def tell(self, agent: Key, open_: frozenset[str], instances: int, open_s: float, now: float) -> News | None:
        """The news of one Agent; None when nothing is different from what was told.

        open_: instances whose circuit is not closed. instances: how many there are. open_s: until the next attempt.
        """
        self._changed.pop(agent, None)
        _, before = self._told.get(agent, (0.0, frozenset[str]()))
        if open_ == before:
            return None
        self._times.append(now)
        self._told[agent] = now, open_
        opened, closed = open_ - before, before - open_
        if not open_:
            return News(False, f"No circuit is open any more: {_named(closed)} answered, were replaced or were reset")
        note = (
            f"{_named(open_)} of {instances} instances keep failing and are left alone, next attempt in {open_s:.3g} s"
        )
        return News(bool(opened), f"{note}; no longer: {_named(closed)}" if closed else note)

    def forget(self, agent: Key) -> None:
        """The Agent was deleted."""
        self._changed.pop(agent, None)
        self._told.pop(agent, None)


def _named(names: frozenset[str]) -> str:
    listed = ", ".join(sorted(names)[:MAX_NAMED])
    return listed if len(names) <= MAX_NAMED else f"{listed} and {len(names) - MAX_NAMED} more"
