"""From what watches and calls said to the rows of a time line."""

import json

from life.delays import Steps, claims
from life.moments import Moment, Record, time_line
from life.watching import Line, Seen, objects
from live.outcomes import OK, Outcome

A, B, C = "writers-1-aaaaa", "writers-1-bbbbb", "writers-1-ccccc"


def make_node(at_s: float, replicas: int, reason: str = "InstancesReady") -> Seen:
    status = {"conditions": [{"type": "Ready", "status": "True", "reason": reason}]}
    return Seen(at_s, "MODIFIED", {"metadata": {"name": "writers"}, "spec": {"replicas": replicas}, "status": status})


def make_pod(at_s: float, name: str, *, ready: bool = True, cost: str = "", kind: str = "MODIFIED") -> Seen:
    meta = {"name": name}
    if cost or kind == "DELETED":
        annotations = {"controller.kubernetes.io/pod-deletion-cost": cost or "-1"}
        meta |= {"deletionTimestamp": "now", "annotations": annotations}
    status = {"conditions": [{"type": "Ready", "status": "True" if ready else "False"}]}
    return Seen(at_s, kind, {"metadata": meta, "status": status})


def make_call(sent_s: float, ended_s: float, instance: str = A, code: str = OK) -> Outcome:
    return Outcome(sent_s, ended_s - sent_s, 0.0, code, "", instance)


def make_run(*, raised_s: float = 14.0, second_to_go: str = C, code: str = OK) -> tuple[Record, Steps]:
    """A pool that is woken at 1, loaded from 10 to 20, raised, and shrinks to A, which has a call until 60."""
    held, long = make_call(1, 3), make_call(18, 60)
    load = [make_call(10, 11), make_call(16, 17, B), make_call(19, 20, C, code)]
    nodes = [make_node(0, 0, "ScaledToZero"), make_node(1.5, 1), make_node(raised_s, 3), make_node(30, 1)]
    pods = [
        *(make_pod(at_s, name) for at_s, name in ((2, A), (15, B), (15.5, C))),
        make_pod(31, B, cost="-9"),
        make_pod(31, second_to_go, cost="-9"),
        make_pod(80, A, cost="-9"),
    ]
    steps = Steps(held, long, load, 5.0)
    return Record(nodes, pods, [], steps.calls, [Moment(0.0, "applied")]), steps


def test_a_row_tells_how_things_stood_at_its_moment() -> None:
    record, _ = make_run()

    rows = {row.event: row for row in time_line(record)}

    told = rows["pod bbbbb is told to go (deletion cost -9)"]
    assert (told.wanted, told.ready, told.going, told.in_flight) == (1, 1, 2, 1)
    assert rows["**1 → 3 wanted** in AgentNode `spec.replicas`"].at_s == 14.0
    assert rows["**first answer of bbbbb**"].at_s == 17.0
    assert [row.at_s for row in time_line(record)] == sorted(row.at_s for row in time_line(record))


def test_a_good_run_keeps_all_claims() -> None:
    assert [claim.text for claim in claims(*make_run()) if not claim.holds] == []


def test_a_run_that_is_late_loses_a_call_or_takes_the_busy_pod_says_so() -> None:
    late, lost, taken = make_run(raised_s=17.5), make_run(code="NODE_UNAVAILABLE"), make_run(second_to_go=A)

    assert [claim.holds for claim in claims(*late)] == [False, True, True, True]
    assert [claim.holds for claim in claims(*lost)] == [True, False, True, True]
    assert [claim.holds for claim in claims(*taken)] == [True, True, False, False]


def test_objects_of_a_watch_have_the_time_of_their_line() -> None:
    pod = {"kind": "Pod", "spec": {}}

    seen = objects([Line(1.0, json.dumps({"type": "ADDED", "object": pod}))])

    assert seen == [Seen(1.0, "ADDED", pod)]
