"""How often one object may be written, and how long a change waits for what follows it. Pure: `now` is given."""

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
# … and of thousands that begin at once each waits longer, so that most are ready by then
BEGINNINGS_PER_S: Final = 100
LONGEST_BEGINNING_S: Final = 10.0

# Assignments of one AgentNode after the other go out at once, up to so many a second; beyond that (a fleet is being
# applied) each AgentNode waits and takes all its new Agents together: every write goes to each of its instances too
ASSIGNMENTS_PER_S: Final = 10.0
ASSIGNMENTS_AT_ONCE: Final = 20.0
ASSIGNMENTS_PAUSE_S: Final = 2.0
LONGEST_ASSIGNMENTS_PAUSE_S: Final = 5.0
# So many AgentNodes may write in turn without waiting for longer
ASSIGNED_POOLS_PER_S: Final = 20


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
class Pace:
    """When each object was last written, and since when it has something to tell."""

    _told: dict[Key, float] = field(default_factory=dict)
    _since: dict[Key, float] = field(default_factory=dict)

    def wait_s(self, key: Key, change: Change, now: float) -> float:
        """How long to wait until this is written; 0 or less: not at all."""
        since = self._since.setdefault(key, now)
        told = self._told.get(key)
        pause = 0.0 if told is None else told + self._pause_s(key, change) - now
        return max(since + self._hold_s(key, change) - now, pause)

    def earliest_s(self, key: Key, now: float) -> float:
        """How long nothing can be written of it, whatever it is."""
        told = self._told.get(key)
        return 0.0 if told is None else max(0.0, told + _PAUSES_S[key[0]] - now)

    def wrote(self, key: Key, now: float) -> None:
        """The status of the object was written."""
        self._told[key] = now
        self._since.pop(key, None)

    def is_told(self, key: Key) -> None:
        """There is nothing to tell (any more)."""
        self._since.pop(key, None)

    def forget(self, key: Key) -> None:
        """The object is gone."""
        self._told.pop(key, None)
        self._since.pop(key, None)

    def _pause_s(self, key: Key, change: Change) -> float:
        if change.is_flip or key[0] == names.AGENT_NODE:
            return _PAUSES_S[key[0]]
        return max(AGENT_STATUS_S, len(self._told) / AGENT_WRITES_PER_S)

    def _hold_s(self, key: Key, change: Change) -> float:
        if not change.is_flip:
            return NODE_COUNT_S if key[0] == names.AGENT_NODE else AGENT_COUNT_S
        if change.is_final:
            return 0.0
        if change.is_beginning:
            return min(LONGEST_BEGINNING_S, max(BEGINNING_S, len(self._since) / BEGINNINGS_PER_S))
        return BEGINNING_S


@dataclass(slots=True)
class AssignmentPace:
    """When the assignments of each AgentNode were last written."""

    _told: OrderedDict[Key, float] = field(default_factory=OrderedDict)
    _left: float = ASSIGNMENTS_AT_ONCE
    _filled: float = 0.0

    def wait_s(self, key: Key, now: float) -> float:
        """How long this AgentNode waits; 0: it writes now."""
        self._left = min(ASSIGNMENTS_AT_ONCE, self._left + (now - self._filled) * ASSIGNMENTS_PER_S)
        self._filled = now
        while self._told and now - next(iter(self._told.values())) > LONGEST_ASSIGNMENTS_PAUSE_S:
            self._told.popitem(last=False)
        pause = min(LONGEST_ASSIGNMENTS_PAUSE_S, max(ASSIGNMENTS_PAUSE_S, len(self._told) / ASSIGNED_POOLS_PER_S))
        told = self._told.get(key)
        if self._left < 1 and told is not None and told + pause > now:
            return told + pause - now
        self._left = max(0.0, self._left - 1)
        self._told[key] = now
        self._told.move_to_end(key)
        return 0.0


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
