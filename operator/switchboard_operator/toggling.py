"""kopf's sets of toggles, which wake who waits for them when they turn, and not at each change inside.

At its start kopf makes a worker for every object that there is, each with a toggle of its own, and none goes on before
the last toggle is dropped: each drop wakes all who wait, fifty million times for ten thousand objects. A limit of
workers is no way out: those that wait keep their places, and the others, for which they wait, never begin.
"""

from typing import Any

from kopf._cogs.aiokits.aiotoggles import Toggle, ToggleSet


async def _make_toggle(self: ToggleSet, __val: bool = False, *, name: str | None = None) -> Toggle:
    toggle = Toggle(__val, name=name, condition=self._condition)
    async with self._condition:
        before = self.is_on()
        self._toggles.add(toggle)
        _tell(self, before)
    return toggle


async def _drop_toggle(self: ToggleSet, toggle: Toggle) -> None:
    async with self._condition:
        before = self.is_on()
        self._toggles.discard(toggle)
        _tell(self, before)


def _tell(toggles: ToggleSet, before: bool) -> None:
    if toggles.is_on() != before:
        toggles._condition.notify_all()


def calm_toggles() -> None:
    """Have kopf's sets of toggles do so, in this process. Doing it twice changes nothing."""
    replaced: Any = ToggleSet
    replaced.make_toggle, replaced.drop_toggle = _make_toggle, _drop_toggle
