"""Waiting looks again until it sees, and tells what it saw last."""

import pytest
from live.waiting import Late, NotYet, wait_until


def test_the_first_true_value_is_returned():
    values = iter([None, 0, "seen"])

    assert wait_until(lambda: next(values), "a value", timeout_s=30) == "seen"


def test_what_was_seen_last_is_told():
    def look() -> bool:
        raise NotYet("2 of 3 pods")

    with pytest.raises(Late, match="in vain for three pods; seen last: 2 of 3 pods"):
        wait_until(look, "three pods", timeout_s=0)
