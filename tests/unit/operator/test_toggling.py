"""kopf's toggles, as we have them behave; fails when a release of kopf has others."""

import asyncio
from collections.abc import Callable, Iterable

import pytest
from kopf._cogs.aiokits.aiotoggles import ToggleSet

from switchboard_operator.toggling import calm_toggles


@pytest.fixture(autouse=True)
def calm(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("make_toggle", "drop_toggle"):  # put back after the test
        monkeypatch.setattr(ToggleSet, name, getattr(ToggleSet, name))
    calm_toggles()


async def test_who_waits_is_woken_once_and_not_by_each_toggle_of_others() -> None:
    asked, many = 0, 300

    def all_on(states: Iterable[bool]) -> bool:
        nonlocal asked
        asked += 1
        return all(states)

    toggles = ToggleSet(all_on)
    held = [await toggles.make_toggle(name=str(number)) for number in range(many)]

    waiting = [asyncio.create_task(toggles.wait_for(True)) for _ in range(many)]
    for toggle in held:
        await asyncio.sleep(0)
        await toggles.drop_toggle(toggle)
    async with asyncio.timeout(60):
        await asyncio.gather(*waiting)
    assert asked <= 7 * many  # and not its square


@pytest.mark.parametrize(("kind", "ends"), [(all, True), (any, False)])
async def test_who_waits_is_woken_when_the_set_turns(kind: Callable[[Iterable[bool]], bool], ends: bool) -> None:
    toggles = ToggleSet(kind)
    held = await toggles.make_toggle(not ends)
    waiting = asyncio.create_task(toggles.wait_for(ends))
    await asyncio.sleep(0)
    await toggles.drop_toggle(held)
    async with asyncio.timeout(60):
        await waiting
    back = asyncio.create_task(toggles.wait_for(not ends))
    await asyncio.sleep(0)
    await toggles.make_toggle(not ends)
    async with asyncio.timeout(60):
        await back
