"""How often one object may be written, and how long a change waits for what follows it. Pure: `now` is given."""

import math
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from switchboard_wire import names

Key = tuple[str, str, str]  # kind, namespace, name


def kind_of(key: Key) -> str:
    """The first part of a key."""
    return key[0]


# Between two status writes of one object; what happens in between goes into the second
NODE_STATUS_S: Final = 2.0
AGENT_STATUS_S: Final = 5.0
# While a pool of ten thousand Agents grows, each of them could tell of every new instance: together they take turns
AGENT_WRITES_PER_S: Final = 200
# A count is followed by the next: a pod that is made by one that is ready, one instance by the others of its pool
NODE_COUNT_S: Final = 1.0
AGENT_COUNT_S: Final = 5.0
# An object that begins has more to say soon: with its pods there already that is one write instead of two
BEGINNING_S: Final = 1.0
# … and of many Agents that begin each waits longer, so that most are ready by then: so many seconds for each that began
# in one second, which is a mean over some, since a fleet comes over as long as kubectl takes to send it
WAIT_PER_BEGINNING_S: Final = 4.0
BEGINNINGS_OVER_S: Final = 10.0
# Longer than new Agents wait for their assignments while a fleet comes
LONGEST_BEGINNING_S: Final = 30.0
# All AgentNodes together tell of counts and beginnings so often: each such status is the largest that we write
NODE_WRITES_PER_S: Final = 4
LONGEST_NODE_WAIT_S: Final = 20.0

# Assignments of one AgentNode after the other go out at once, up to so many a second; beyond that (a fleet is being
# applied) each AgentNode waits and takes all its new Agents together: every write goes to each of its instances too
ASSIGNMENTS_PER_S: Final = 5.0
ASSIGNMENTS_AT_ONCE: Final = 20.0
# … until so many places are free again: a little over half a second after the last came
ASSIGNMENTS_CALM: Final = 3.0
ASSIGNMENTS_PAUSE_S: Final = 2.0
LONGEST_ASSIGNMENTS_PAUSE_S: Final = 20.0
# So many AgentNodes may write in turn without waiting for longer
ASSIGNED_POOLS_PER_S: Final = 5


@dataclass(frozen=True, slots=True)
class Change:
    """What a status write would tell.

    is_flip: a condition changes its status or reason, and not a mere count or message.
    is_beginning: nothing was told before. is_final: no more is to be expected of it soon.
    """

    is_flip: bool
    is_beginning: bool
    is_final: bool


def change_of(before: Mapping[str, Any], after: Mapping[str, Any]) -> Change:
    """What the status `after` has to tell to those who know `before`."""
    former, present = _standing(before), _standing(after)
    is_refused = present.get("Accepted", ("", ""))[0] == "False"
    is_lost = former.get("Ready", ("", ""))[0] == "True" and present.get("Ready", ("", ""))[0] != "True"
    is_failed = present.get("Ready", ("", ""))[1] == "HandlerFailed"
    return Change(
        is_flip=former != present,
        is_beginning=not former,
        is_final=is_refused or is_lost or is_failed or _is_whole(after),
    )


@dataclass(slots=True)
class Rate:
    """How often something happens in a second, as a mean that forgets exponentially."""

    over_s: float
    _count: float = 0.0
    _counted: float = 0.0

    def add(self, now: float) -> None:
        """It happened."""
        self._count = self._left(now) + 1.0
        self._counted = now

    def per_s(self, now: float) -> float:
        """The mean at this moment."""
        return self._left(now) / self.over_s

    def _left(self, now: float) -> float:
        return self._count * math.exp(min(0.0, self._counted - now) / self.over_s)


@dataclass(slots=True)
class Pace:
    """When each object was last written, and since when it has something to tell."""

    _told: dict[Key, float] = field(default_factory=dict)
    _since: dict[str, dict[Key, float]] = field(default_factory=lambda: {names.AGENT_NODE: {}, names.AGENT: {}})
    _beginnings: Rate = field(default_factory=lambda: Rate(BEGINNINGS_OVER_S))

    def wait_s(self, key: Key, change: Change, now: float) -> float:
        """How long to wait until this is written; 0 or less: not at all."""
        if key not in self._since[key[0]] and change.is_beginning and key[0] == names.AGENT:
            self._beginnings.add(now)
        since = self._since[key[0]].setdefault(key, now)
        told = self._told.get(key)
        pause = 0.0 if told is None else told + self._pause_s(key, change) - now
        return max(since + self._hold_s(key, change, now) - now, pause)

    def earliest_s(self, key: Key, now: float) -> float:
        """How long nothing can be written of it, whatever it is."""
        told = self._told.get(key)
        return 0.0 if told is None else max(0.0, told + _PAUSES_S[key[0]] - now)

    def wrote(self, key: Key, now: float) -> None:
        """The status of the object was written."""
        self._told[key] = now
        self.is_told(key)

    def is_told(self, key: Key) -> None:
        """There is nothing to tell (any more)."""
        self._since[key[0]].pop(key, None)

    def forget(self, key: Key) -> None:
        """The object is gone."""
        self._told.pop(key, None)
        self.is_told(key)

    def _pause_s(self, key: Key, change: Change) -> float:
        if change.is_flip or key[0] == names.AGENT_NODE:
            return _PAUSES_S[key[0]]
        return max(AGENT_STATUS_S, len(self._told) / AGENT_WRITES_PER_S)

    def _hold_s(self, key: Key, change: Change, now: float) -> float:
        if change.is_flip and change.is_final:
            return 0.0
        if key[0] == names.AGENT_NODE:
            share = len(self._since[names.AGENT_NODE]) / NODE_WRITES_PER_S
            return min(LONGEST_NODE_WAIT_S, max(BEGINNING_S if change.is_flip else NODE_COUNT_S, share))
        if not change.is_flip:
            return AGENT_COUNT_S
        # One that is known and becomes ready on its first instance soon is on the others
        longest = LONGEST_BEGINNING_S if change.is_beginning else AGENT_COUNT_S
        return min(longest, max(BEGINNING_S, self._beginnings.per_s(now) * WAIT_PER_BEGINNING_S))


@dataclass(slots=True)
class AssignmentPace:
    """When the assignments of each AgentNode were last written, and which wait for their turn."""

    _told: OrderedDict[Key, float] = field(default_factory=OrderedDict)
    _waiting: dict[Key, object] = field(default_factory=dict)  # with what they want to write
    _freed: set[Key] = field(default_factory=set)
    _left: float = ASSIGNMENTS_AT_ONCE
    _filled: float = 0.0
    _is_crowded: bool = False

    def wait_s(self, key: Key, wanted: object, now: float) -> float:
        """How long this AgentNode waits; 0: it writes `wanted` now."""
        self._fill(now)
        if self._waiting.get(key, _NOTHING) != wanted:
            self._is_crowded = self._is_crowded or self._left < 1
            self._left = max(0.0, self._left - 1)
        pause = min(LONGEST_ASSIGNMENTS_PAUSE_S, max(ASSIGNMENTS_PAUSE_S, len(self._told) / ASSIGNED_POOLS_PER_S))
        told = self._told.get(key)
        if self._is_crowded and key not in self._freed and told is not None and told + pause > now:
            self._waiting[key] = wanted
            return told + pause - now
        self.wrote(key, now)
        return 0.0

    def wrote(self, key: Key, now: float) -> None:
        """Assignments of the AgentNode are written."""
        self._waiting.pop(key, None)
        self._freed.discard(key)
        self._told[key] = now
        self._told.move_to_end(key)

    def calmed(self, now: float) -> list[Key]:
        """Those that need not wait any longer, because no more come."""
        self._fill(now)
        if self._is_crowded:
            return []
        freed = list(self._waiting)
        self._waiting.clear()
        self._freed.update(freed)
        return freed

    def forget(self, key: Key) -> None:
        """The AgentNode is gone."""
        self._waiting.pop(key, None)
        self._freed.discard(key)

    def _fill(self, now: float) -> None:
        self._left = min(ASSIGNMENTS_AT_ONCE, self._left + max(0.0, now - self._filled) * ASSIGNMENTS_PER_S)
        self._filled = now
        self._is_crowded = self._is_crowded and self._left < ASSIGNMENTS_CALM
        while self._told and now - next(iter(self._told.values())) > LONGEST_ASSIGNMENTS_PAUSE_S:
            self._told.popitem(last=False)


_NOTHING: Final = object()
_PAUSES_S: Final[Mapping[str, float]] = {names.AGENT_NODE: NODE_STATUS_S, names.AGENT: AGENT_STATUS_S}


def _standing(status: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    return {c["type"]: (c["status"], c.get("reason", "")) for c in status.get("conditions") or ()}


def _is_whole(status: Mapping[str, Any]) -> bool:
    """Whether all that is asked for is there: every instance of an AgentNode, an Agent on every one of them."""
    if _standing(status).get("Ready", ("", ""))[0] != "True":
        return False
    if "readyInstances" in status:
        return bool(status["readyInstances"] >= status["instances"])
    counts: Mapping[str, int] = status.get("counts") or {}
    return bool(counts.get("up", 0) >= status.get("replicas", 0))
