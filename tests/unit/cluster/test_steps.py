"""Steps that overlap."""

import threading

import pytest
from devcluster.faults import ClusterError
from devcluster.steps import Step, run_steps, show


def test_a_step_begins_after_those_it_needs() -> None:
    done: list[str] = []
    steps = [
        Step("last", lambda: done.append("last"), after=("first", "second")),
        Step("second", lambda: done.append("second"), after=("first",)),
        Step("first", lambda: done.append("first")),
    ]
    run_steps(steps)
    assert done == ["first", "second", "last"]


def test_steps_overlap() -> None:
    meeting = threading.Barrier(2, timeout=10)
    run_steps([Step("one", meeting.wait), Step("other", meeting.wait)])


def test_nothing_begins_after_a_fault() -> None:
    done: list[str] = []

    def fail() -> None:
        raise ClusterError("the disk is full")

    with pytest.raises(ClusterError, match="the disk is full"):
        run_steps([Step("first", fail), Step("second", lambda: done.append("second"), after=("first",))])
    assert done == []


def test_steps_that_wait_for_each_other_are_refused() -> None:
    with pytest.raises(ClusterError, match="wait for each other"):
        run_steps([Step("a", int, after=("b",)), Step("b", int, after=("a",))])


def test_a_line_fits_in_eighty_columns_and_needs_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    show("x" * 200)
    shown = capsys.readouterr().err
    assert len(shown.rstrip("\n")) == 80
    assert "\r" not in shown
