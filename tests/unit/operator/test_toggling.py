"""kopf's toggles, as we have them behave; fails when a release of kopf has others."""

import asyncio
from collections.abc import Callable, Iterable

import kopf
import pytest
from kopf._cogs.aiokits.aiotoggles import ToggleSet
from kopf._core.reactor import orchestration

from switchboard_operator.toggling import calm_toggles


@pytest.fixture(autouse=True)
def calm(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("make_toggle", "drop_toggle"):  # put back after the test
        monkeypatch.setattr(ToggleSet, name, getattr(ToggleSet, name))
    calm_toggles(lambda: None)


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


async def begin_watches(listings: ToggleSet) -> None:
    """As kopf does before it knows what there is to be watched."""
    paused = ToggleSet(any)
    ensemble = orchestration.Ensemble(listings, paused, await paused.make_toggle(name="missing"))
    await orchestration.spawn_missing_watchers(
        processor=unexpected,
        settings=kopf.OperatorSettings(),
        indexed_resources=(),
        watched_resources=(),
        watched_namespaces=(),
        ensemble=ensemble,
    )


async def unexpected(**_: object) -> str | None:
    raise AssertionError("there is nothing to be watched")


async def test_that_all_is_listed_is_told_with_the_last_listing_and_not_before_there_is_any() -> None:
    told: list[int] = []
    listings = ToggleSet(all)
    calm_toggles(lambda: told.append(len(listings)))
    await begin_watches(listings)
    assert not told, "nothing is listed yet"
    kinds = [await listings.make_toggle(name=f"{kind}@ns") for kind in ("pods", "agentnodes")]
    pod = await listings.make_toggle(name="a pod")
    for toggle in (*kinds, pod):
        assert not told
        await listings.drop_toggle(toggle)
    assert told == [0]


async def test_that_all_is_listed_is_told_too_when_kopf_looks_for_more_to_watch_at_that_moment() -> None:
    told: list[int] = []
    listings = ToggleSet(all)
    calm_toggles(lambda: told.append(len(listings)))
    kind = await listings.make_toggle(name="pods@ns")
    beginning = await listings.make_toggle(name="orchestration blocker")
    await listings.drop_toggle(kind)
    assert not told
    await listings.drop_toggle(beginning)
    assert told == [0]
