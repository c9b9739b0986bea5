"""What load and age make of a weight."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchboard_routing.weights import SLOW_START_S, Report, dynamic_weight, warmth

IDLE = Report()

CASES = {
    "an idle instance has its whole weight": (100, IDLE, True, 100),
    "without a report perf and health are a half each": (100, None, True, 25),
    "half of the CPU is half of the weight": (100, Report(cpu=0.5), True, 50),
    "memory counts likewise": (100, Report(memory=0.75), True, 25),
    "a second of latency is a half": (100, Report(latency_ms=1000), True, 50),
    "errors count": (100, Report(error_rate=0.5), True, 50),
    "each factor stays above a tenth": (1000, Report(cpu=1, memory=1), True, 10),
    "who is not available has a tenth": (100, IDLE, False, 10),
    "a weight never falls to nothing": (1, Report(cpu=1, memory=1, latency_ms=1e6, error_rate=1), False, 1),
}


@pytest.mark.parametrize(("weight", "report", "available", "expected"), CASES.values(), ids=CASES.keys())
def test_dynamic_weight(weight: int, report: Report | None, available: bool, expected: int) -> None:
    assert dynamic_weight(weight, report, available=available) == expected


shares = st.floats(0, 1)
reports = st.builds(Report, shares, shares, st.floats(0, 1e6), shares)


@given(st.integers(0, 1000), reports, st.booleans())
def test_the_weight_is_between_one_and_what_was_given(weight: int, report: Report, available: bool) -> None:
    assert 1 <= dynamic_weight(weight, report, available=available) <= max(1, weight)


@given(st.integers(0, 1000), reports, st.floats(0, 1))
def test_more_load_never_raises_a_weight(weight: int, report: Report, more: float) -> None:
    loaded = Report(max(report.cpu, more), report.memory, report.latency_ms, report.error_rate)
    assert dynamic_weight(weight, loaded, available=True) <= dynamic_weight(weight, report, available=True)


@given(st.floats(0, 100), st.floats(0, 100))
def test_warmth_grows_from_a_tenth_to_all(age: float, later: float) -> None:
    assert 0.1 <= warmth(age) <= warmth(age + later) <= 1
    assert warmth(SLOW_START_S) == 1
