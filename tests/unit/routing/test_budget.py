"""Retries stay a small share of the calls."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchboard_routing.budget import MAX_TOKENS, PER_S, RATIO, RESERVE, RetryBudget


def test_a_quiet_agent_may_retry_a_few_times_at_once_and_then_once_a_second() -> None:
    budget = RetryBudget()
    assert sum(budget.take(0, 0.0) for _ in range(100)) == RESERVE
    assert [budget.take(0, 0.5), budget.take(0, 1.0), budget.take(0, 1.0), budget.take(0, 2.0)] == [
        False,
        True,
        False,
        True,
    ]


def test_when_every_call_fails_a_fifth_is_tried_again() -> None:
    budget = RetryBudget()
    granted = sum(budget.take(calls, 0.0) for calls in range(1, 10_001))
    assert granted == pytest.approx(10_000 * RATIO + RESERVE, abs=1)


@given(st.lists(st.tuples(st.integers(0, 300), st.floats(0, 5)), max_size=200))
def test_retries_never_exceed_their_share_of_calls_and_time(steps: list[tuple[int, float]]) -> None:
    budget, calls, now, granted = RetryBudget(), 0, 0.0, 0
    for more, seconds in steps:
        calls, now = calls + more, now + seconds
        granted += budget.take(calls, now)
    assert granted <= RESERVE + calls * RATIO + now * PER_S + 1e-6


def test_what_is_saved_up_is_bounded() -> None:
    budget = RetryBudget()
    assert sum(budget.take(10**6, 0.0) for _ in range(1000)) == MAX_TOKENS
