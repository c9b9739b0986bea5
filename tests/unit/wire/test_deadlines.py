"""The wheel that all deadlines of a process share."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchboard_wire.deadlines import SLOT_S, Deadlines, Wheel


def nothing() -> None: ...


times = st.lists(st.tuples(st.floats(0, 30), st.floats(0, 30)), max_size=30)


@given(times)
def test_each_deadline_is_due_once_and_never_early(steps: list[tuple[float, float]]) -> None:
    wheel, now = Wheel(0.0), 0.0
    waiting: dict[int, float] = {}
    for number, (passes, delay) in enumerate(steps):
        when = now + delay
        wheel.add(when, lambda n=number: waiting.pop(n))  # type: ignore[misc]
        waiting[number] = when
        now += passes
        before = dict(waiting)
        for expire in wheel.due(now):
            expire()
        assert all(before[gone] <= now for gone in before.keys() - waiting.keys())
        assert all(when > now - 2 * SLOT_S for when in waiting.values())


def test_after_a_month_without_deadlines_the_first_one_costs_no_more_than_any_other() -> None:
    wheel = Wheel(0.0)
    month = 30 * 86400.0
    wheel.add(month, nothing)
    assert len(list(wheel._until(int(month / SLOT_S) + 1))) == 1
    assert wheel.due(month + 2 * SLOT_S) == [nothing]


async def test_a_callback_that_fails_keeps_no_other_deadline_from_its_time(caplog: pytest.LogCaptureFixture) -> None:
    def fails() -> None:
        raise ValueError("no such luck")

    deadlines, done = Deadlines(), asyncio.Event()
    deadlines.add(0.0, fails)
    deadlines.add(0.0, done.set)
    async with asyncio.timeout(60):
        await done.wait()
    assert "no such luck" in caplog.text
