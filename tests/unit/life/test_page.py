"""The run as lines of a page."""

from life.page import chapters, status_lines, wide_lines
from life.watching import Line, Seen


def make_seen(**status: object) -> Seen:
    return Seen(0.0, "MODIFIED", {"status": status})


def ready(reason: str, status: str = "True") -> list[dict[str, str]]:
    return [{"type": "Ready", "status": status, "reason": reason, "lastTransitionTime": "yesterday"}]


def test_lines_that_differ_by_the_age_alone_are_left_out() -> None:
    texts = ["NAME READY AGE REASON", "writers True 1s Ready", "writers True 2s Ready", "writers True 3s Asleep"]

    shown = wide_lines([Line(10.0 + number, text) for number, text in enumerate(texts)], 10.0)

    assert shown == ["    s  NAME READY AGE REASON", "  1.0  writers True 1s Ready", "  3.0  writers True 3s Asleep"]


def test_each_turn_of_a_life_is_shown_once_and_in_its_order() -> None:
    asleep = make_seen(conditions=ready("ScaledToZero"))
    starting = make_seen(conditions=ready("InstancesNotReady", "False"), counts={"starting": 1})
    up = make_seen(conditions=ready("InstancesReady"), readyReplicas=1, counts={"up": 1})
    scaled = make_seen(conditions=ready("InstancesReady"), readyReplicas=3, counts={"up": 3})
    draining = make_seen(conditions=ready("InstancesReady"), readyReplicas=1, counts={"up": 1, "draining": 2})

    found = [seen for _, seen in chapters([asleep, asleep, starting, up, up, scaled, draining, asleep])]

    assert found == [asleep, starting, up, scaled, draining]


def test_a_status_has_a_line_for_each_condition_and_instance() -> None:
    instance = {"name": "writers-1", "state": "Up", "agents": [{"name": "writer", "state": "Ready"}]}
    seen = make_seen(activity="Idle", conditions=ready("InstancesReady"), instances=[instance])

    assert status_lines(seen.object) == [
        "activity: Idle",
        "conditions:",
        "- {type: Ready, status: 'True', reason: InstancesReady}",
        "instances:",
        "- {name: writers-1, state: Up, agents: [{name: writer, state: Ready}]}",
        "counts: {}",
    ]
