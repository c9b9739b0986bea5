"""What is read out of objects."""

import pytest
from live.kubectl import condition, is_ready


def an_object(generation: int, observed: int):
    told = {"type": "Ready", "status": "True", "observedGeneration": observed}
    return {"metadata": {"generation": generation}, "status": {"conditions": [told]}}


def test_a_condition_about_an_older_generation_is_none():
    assert condition(an_object(2, 2), "Ready")["status"] == "True"
    assert condition(an_object(2, 1), "Ready") == {}
    assert condition(an_object(2, 2), "Accepted") == {}
    assert condition(None, "Ready") == {}


@pytest.mark.parametrize(
    ("deleted", "status", "ready"), [(False, "True", True), (False, "False", False), (True, "True", False)]
)
def test_a_pod_on_its_way_out_is_not_ready(deleted, status, ready):
    pod = {
        "metadata": {"deletionTimestamp": "now"} if deleted else {},
        "status": {"conditions": [{"type": "Ready", "status": status}]},
    }

    assert is_ready(pod) is ready
