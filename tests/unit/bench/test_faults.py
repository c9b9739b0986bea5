"""How a round with a fault is reckoned, and growth from samples of memory."""

import pytest

from bench.faults import Ended, judge, rows_of
from bench.soak import slope_per_hour

FAULT = 100.0


def make_call(started: float, ended: float, said: str = "a", idempotent: bool = False, error: str = "") -> Ended:
    return Ended(FAULT + started, FAULT + ended, said.encode(), idempotent, error)


def test_detection_is_when_the_last_call_that_was_inside_has_failed() -> None:
    calls = [
        make_call(-0.01, 0.02, error="NodeUnavailable"),
        make_call(-0.01, 0.04, error="NodeUnavailable"),
        make_call(0.5, 0.9, error="NodeUnavailable"),  # not inside when it happened
    ]
    found = judge(calls, FAULT, frozenset())
    assert found.detection_ms == pytest.approx(40)
    assert (found.failed, found.lost) == (3, 0)


def test_calls_that_may_be_repeated_are_counted_apart_when_they_fail() -> None:
    calls = [make_call(-0.01, 0.02, idempotent=True, error="NodeUnavailable"), make_call(-0.01, 0.02, error="Offline")]
    found = judge(calls, FAULT, frozenset())
    assert (found.failed, found.failed_idempotent) == (2, 1)


def test_an_acknowledged_call_whose_handler_did_not_finish_is_lost() -> None:
    calls = [make_call(-0.01, 0.02, "done"), make_call(-0.01, 0.02, "invented")]
    assert judge(calls, FAULT, frozenset([b"done"])).lost == 1


def test_a_call_that_ran_into_its_deadline_is_lost() -> None:
    assert judge([make_call(-0.01, 10, error="DeadlineExceeded")], FAULT, frozenset()).lost == 1


def test_the_second_before_and_the_time_until_detection_are_measured_apart() -> None:
    calls = [
        make_call(-0.5, -0.4),
        make_call(-0.1, 0.2),  # under way when it happened
        make_call(-0.01, 1.0, error="NodeUnavailable"),
        make_call(2.0, 2.7),  # afterwards
    ]
    found = judge(calls, FAULT, frozenset([b"a"]))
    assert found.calm.p99_ms == pytest.approx(100)
    assert found.meanwhile.p99_ms == pytest.approx(300)


def test_a_fault_has_a_row_beside_the_calm_before_it() -> None:
    calls = [make_call(-0.5, -0.4), make_call(-0.1, 0.2), make_call(-0.01, 1.0, error="NodeUnavailable")]
    calm, fault = rows_of("killed", [judge(calls, FAULT, frozenset([b"a"]))] * 3)
    assert (calm.name, fault.name, fault.ratio_to) == ("killed: undisturbed", "killed", "killed: undisturbed")
    assert (fault.detection_ms, fault.failed, fault.lost) == (pytest.approx(1000), 3, 0)


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        pytest.param([(0.0, 40.0), (1800.0, 41.0), (3600.0, 42.0)], 2.0, id="two megabytes in an hour"),
        pytest.param([(0.0, 40.0), (10.0, 40.0)], 0.0, id="memory that stays as it is"),
        pytest.param([(5.0, 40.0)], 0.0, id="one sample says nothing"),
    ],
)
def test_growth_is_the_slope_of_the_samples(samples: list[tuple[float, float]], expected: float) -> None:
    assert slope_per_hour(samples) == pytest.approx(expected)
