"""kopf's sets of toggles, which wake who waits for them when they turn, and not at each change inside.

At its start kopf makes a worker for every object that there is, each with a toggle of its own, and none goes on before
the last toggle is dropped: each drop wakes all who wait, fifty million times for ten thousand objects. A limit of
workers is no way out: those that wait keep their places, and the others, for which they wait, never begin.

That last toggle is also the one moment that tells that all is listed, where there may be no object and so no event.
"""

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Final

from kopf._cogs.aiokits.aiotoggles import Toggle, ToggleSet

# Of the kopf that runs in this context: called when every watch has had its first whole listing
_LISTED: Final[ContextVar[Callable[[], None]]] = ContextVar("listed")
# Held while kopf begins watches: at first alone, where it does not know yet what there is to be watched
_BEGINNING: Final = "orchestration blocker"


async def _make_toggle(self: ToggleSet, __val: bool = False, *, name: str | None = None) -> Toggle:
    toggle = Toggle(__val, name=name, condition=self._condition)
    async with self._condition:
        before = self.is_on()
        self._toggles.add(toggle)
        _tell(self, before)
    if name != _BEGINNING:
        vars(self)["has_begun"] = True
    return toggle


async def _drop_toggle(self: ToggleSet, toggle: Toggle) -> None:
    async with self._condition:
        before = self.is_on()
        self._toggles.discard(toggle)
        # Of kopf's sets this turns on the one that waits for the listings: the other is on while any toggle in it is
        if _tell(self, before) and not before and "has_begun" in vars(self):
            _LISTED.get()()


def _tell(toggles: ToggleSet, before: bool) -> bool:
    """Wake who waits if the set has turned; whether it has."""
    if has_turned := toggles.is_on() != before:
        toggles._condition.notify_all()
    return has_turned


def calm_toggles(listed: Callable[[], None]) -> None:
    """Have kopf's sets of toggles do so, in this process. Doing it twice changes nothing.

    listed: called, in its loop, when the kopf that this context starts has listed all that it watches, even if there is
    nothing; before any event is handed out.
    """
    _LISTED.set(listed)
    replaced: Any = ToggleSet
    replaced.make_toggle, replaced.drop_toggle = _make_toggle, _drop_toggle
