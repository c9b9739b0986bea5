"""How often the status of one object may be written. Pure: `now` is given."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from switchboard_wire import names

Key = tuple[str, str, str]  # kind, namespace, name

# Between two status writes of one object; what happens in between goes into the second
NODE_STATUS_S: Final = 2.0
AGENT_STATUS_S: Final = 5.0
# While a pool of ten thousand Agents grows, each of them could tell of every new instance: together they take turns
AGENT_WRITES_PER_S: Final = 200


@dataclass(slots=True)
class Pace:
    """When each object was last written; the first write comes at once."""

    _told: dict[Key, float] = field(default_factory=dict)

    def wait_s(self, key: Key, now: float, *, is_flip: bool) -> float:
        """How long to wait until the next write; 0 or less: not at all. A flip waits no longer than a new count."""
        told = self._told.get(key)
        if told is None:
            return 0.0
        if key[0] == names.AGENT_NODE:
            return told + NODE_STATUS_S - now
        pause = AGENT_STATUS_S if is_flip else max(AGENT_STATUS_S, len(self._told) / AGENT_WRITES_PER_S)
        return told + pause - now

    def wrote(self, key: Key, now: float) -> None:
        """The status of the object was written."""
        self._told[key] = now

    def forget(self, key: Key) -> None:
        """The object is gone."""
        self._told.pop(key, None)


def is_flip(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    """Whether a condition changes its status or reason, and not a mere count or message."""
    return _standing(before) != _standing(after)


def _standing(status: Mapping[str, Any]) -> set[tuple[str, str, str]]:
    return {(c["type"], c["status"], c.get("reason", "")) for c in status.get("conditions") or ()}
