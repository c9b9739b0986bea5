"""How often a status and assignments may be written, by a clock that the test moves."""

from dataclasses import replace
from typing import Any

import pytest

from switchboard_operator.pacing import (
    AGENT_COUNT_S,
    AGENT_STATUS_S,
    AGENT_WRITES_PER_S,
    ASSIGNMENTS_AT_ONCE,
    ASSIGNMENTS_PAUSE_S,
    ASSIGNMENTS_PER_S,
    BEGINNING_S,
    LONGEST_ASSIGNMENTS_PAUSE_S,
    LONGEST_BEGINNING_S,
    LONGEST_NODE_WAIT_S,
    NODE_COUNT_S,
    NODE_STATUS_S,
    NODE_WRITES_PER_S,
    AssignmentPace,
    Change,
    Pace,
    Rate,
    change_of,
)

NODE, AGENT = ("AgentNode", "ns", "writers"), ("Agent", "ns", "summarizer")
COUNT = Change(is_flip=False, is_beginning=False, is_final=False)
FLIP = Change(is_flip=True, is_beginning=False, is_final=True)
BEGINNING = Change(is_flip=True, is_beginning=True, is_final=False)


@pytest.mark.parametrize(
    ("key", "change", "agents", "pause"),
    [
        pytest.param(NODE, FLIP, 1, NODE_STATUS_S, id="an AgentNode"),
        pytest.param(NODE, COUNT, 10000, NODE_STATUS_S, id="an AgentNode among many Agents"),
        pytest.param(AGENT, COUNT, 1, AGENT_STATUS_S, id="an Agent"),
        pytest.param(AGENT, COUNT, 10000, 10000 / AGENT_WRITES_PER_S, id="a count of one Agent among many"),
        pytest.param(AGENT, FLIP, 10000, AGENT_STATUS_S, id="a flip of one Agent among many"),
    ],
)
def test_the_second_write_waits(key: tuple[str, str, str], change: Change, agents: int, pause: float) -> None:
    pace = Pace()
    for number in range(agents - 1):
        pace.wrote(("Agent", "ns", f"other-{number}"), 0.0)
    pace.wrote(key, 100.0)
    assert pace.wait_s(key, change, 100.0) == pytest.approx(pause, rel=0.01)
    assert pace.wait_s(key, change, 100.0 + pause) <= 0
    pace.forget(key)
    assert pace.wait_s(key, FLIP, 101.0) <= 0, "another object of the name is new"


def test_a_flip_that_nothing_follows_is_told_at_once() -> None:
    assert Pace().wait_s(AGENT, FLIP, 100.0) <= 0
    assert Pace().wait_s(AGENT, replace(FLIP, is_beginning=True), 100.0) <= 0, "the first time as well"
    assert Pace().wait_s(AGENT, replace(FLIP, is_final=False), 100.0) == BEGINNING_S


def test_a_count_waits_for_the_next_since_it_was_first_seen() -> None:
    pace = Pace()
    assert pace.wait_s(AGENT, COUNT, 100.0) == AGENT_COUNT_S
    assert pace.wait_s(AGENT, COUNT, 101.0) == AGENT_COUNT_S - 1.0
    pace.is_told(AGENT)
    assert pace.wait_s(AGENT, COUNT, 200.0) == AGENT_COUNT_S, "it had gone back in between"


@pytest.mark.parametrize(
    ("per_s", "at_least", "at_most"),
    [
        pytest.param(0, BEGINNING_S, BEGINNING_S, id="one"),
        pytest.param(2, 2.0, 9.0, id="some a second wait longer"),
        pytest.param(14, LONGEST_BEGINNING_S, LONGEST_BEGINNING_S, id="of a fleet that kubectl sends"),
        pytest.param(1000, LONGEST_BEGINNING_S, LONGEST_BEGINNING_S, id="nobody waits for ever"),
    ],
)
def test_an_agent_that_begins_waits_to_be_ready_with_the_same_write(
    per_s: int, at_least: float, at_most: float
) -> None:
    pace = Pace()
    for number in range(per_s * 10):  # for ten seconds
        pace.wait_s(("Agent", "ns", f"other-{number}"), BEGINNING, 90.0 + number / per_s)
    waits = pace.wait_s(AGENT, BEGINNING, 100.0)
    assert at_least <= waits <= at_most
    assert pace.earliest_s(AGENT, 100.0) == 0, "it is looked at when it may have become ready"
    assert pace.wait_s(AGENT, FLIP, 100.0) <= 0, "and told at once when it is"


def test_long_after_a_fleet_came_an_agent_waits_no_longer_than_alone() -> None:
    pace = Pace()
    for number in range(1000):
        pace.wait_s(("Agent", "ns", f"other-{number}"), BEGINNING, 100.0)
    assert pace.wait_s(AGENT, BEGINNING, 200.0) == BEGINNING_S


def test_while_a_fleet_comes_an_agent_that_is_known_waits_to_be_ready_on_all_instances() -> None:
    pace = Pace()
    for number in range(1000):
        pace.wait_s(("Agent", "ns", f"other-{number}"), BEGINNING, 100.0)
    first = Change(is_flip=True, is_beginning=False, is_final=False)
    assert pace.wait_s(AGENT, first, 100.0) == AGENT_COUNT_S
    assert pace.wait_s(AGENT, FLIP, 100.0) <= 0


def test_of_agentnodes_that_have_counts_to_tell_only_so_many_do_in_a_second() -> None:
    pace = Pace()
    for number in range(50):
        pace.wait_s(pool(number), COUNT, 100.0)
    assert pace.wait_s(pool(0), COUNT, 101.0) == pytest.approx(50 / NODE_WRITES_PER_S - 1.0)
    assert pace.wait_s(pool(0), FLIP, 101.0) <= 0, "what ends something does not wait for them"
    for number in range(50):
        pace.is_told(pool(number))
    assert pace.wait_s(pool(0), COUNT, 102.0) == NODE_COUNT_S
    for number in range(1000):
        pace.wait_s(pool(number), BEGINNING, 100.0)
    assert pace.wait_s(pool(1), COUNT, 100.0) == LONGEST_NODE_WAIT_S


def test_an_object_is_not_looked_at_before_anything_could_be_written() -> None:
    pace = Pace()
    pace.wrote(AGENT, 100.0)
    assert pace.earliest_s(AGENT, 101.0) == AGENT_STATUS_S - 1.0


def told(status: str, reason: str, kind: str = "Ready", **more: Any) -> dict[str, Any]:
    return {"conditions": [{"type": kind, "status": status, "reason": reason, "message": "words"}], **more}


SERVING = told("True", "Serving", readyInstances=2, instances=2)
WAITING = told("False", "NoReadyInstance", readyInstances=0, instances=2)


@pytest.mark.parametrize(
    ("before", "after", "change"),
    [
        pytest.param(SERVING, SERVING | {"instances": 3}, COUNT, id="a count"),
        pytest.param(SERVING, WAITING, FLIP, id="readiness lost"),
        pytest.param(WAITING, SERVING, FLIP, id="ready on all instances"),
        pytest.param(WAITING, SERVING | {"instances": 9}, replace(FLIP, is_final=False), id="ready on the first ones"),
        pytest.param({}, WAITING, BEGINNING, id="a beginning"),
        pytest.param({}, SERVING, replace(BEGINNING, is_final=True), id="ready from the start"),
        pytest.param({}, told("False", "InvalidTemplate", "Accepted"), replace(BEGINNING, is_final=True), id="refused"),
        pytest.param(WAITING, told("False", "HandlerFailed"), FLIP, id="a handler that fails"),
        pytest.param(SERVING, told("True", "ScaledToZero", readyInstances=0, instances=0), FLIP, id="another reason"),
        pytest.param(
            {},
            told("True", "InstancesReady", replicas=2, counts={"up": 1}),
            BEGINNING,
            id="pods that are not heard yet",
        ),
    ],
)
def test_what_a_change_is(before: dict[str, Any], after: dict[str, Any], change: Change) -> None:
    assert change_of(before, after) == change


def pool(number: int) -> tuple[str, str, str]:
    return ("AgentNode", "ns", f"pool-{number}")


def test_assignments_that_come_one_by_one_never_wait() -> None:
    pace = AssignmentPace()
    assert [pace.wait_s(NODE, number, number / ASSIGNMENTS_PER_S) for number in range(200)] == [0.0] * 200


def test_of_assignments_that_come_by_the_hundred_each_agentnode_takes_many_together() -> None:
    pace, writes = AssignmentPace(), dict.fromkeys(range(100), 0)
    for step in range(3500):  # an Agent every 10 ms, for 100 AgentNodes in turn
        writes[step % 100] += pace.wait_s(pool(step % 100), step, 100.0 + step / 100) <= 0
        assert pace.calmed(100.0 + step / 100) == []
    assert min(writes.values()) >= 2
    assert sum(writes.values()) < 500
    waiting = [number for number in range(100) if pace.wait_s(pool(number), f"last of {number}", 135.0) > 0]
    assert 0.0 < pace.wait_s(pool(waiting[0]), f"last of {waiting[0]}", 135.0) <= LONGEST_ASSIGNMENTS_PAUSE_S
    freed = pace.calmed(136.1)
    assert sorted(freed) == sorted(pool(number) for number in waiting), "no more came"
    assert [pace.wait_s(key, "last", 136.2) for key in freed] == [0.0] * len(freed), "all of them at once"
    assert pace.calmed(136.3) == []


def test_an_agentnode_that_has_not_written_lately_does_not_wait_for_the_others() -> None:
    pace = AssignmentPace()
    assert [pace.wait_s(NODE, n, 100.0) for n in range(int(ASSIGNMENTS_AT_ONCE))] == [0.0] * int(ASSIGNMENTS_AT_ONCE)
    assert pace.wait_s(NODE, "one more", 100.01) == pytest.approx(ASSIGNMENTS_PAUSE_S - 0.01)
    assert pace.wait_s(pool(1), "its first", 100.01) == 0


def test_looks_at_what_waits_already_do_not_make_a_crowd() -> None:
    pace = AssignmentPace()
    for number in range(int(ASSIGNMENTS_AT_ONCE) + 1):
        pace.wait_s(NODE, number, 100.0)
    assert pace.wait_s(NODE, "x", 100.0) > 0
    for look in range(50):
        assert pace.wait_s(NODE, "x", 100.0 + look / 100) > 0
    assert pace.calmed(101.0) == [NODE]


def test_an_agentnode_that_is_gone_waits_for_nothing() -> None:
    pace = AssignmentPace()
    for number in range(int(ASSIGNMENTS_AT_ONCE) + 2):
        pace.wait_s(NODE, number, 100.0)
    pace.forget(NODE)
    assert pace.calmed(110.0) == []


def test_a_rate_is_a_mean_that_forgets() -> None:
    rate = Rate(10.0)
    for number in range(1000):
        rate.add(number / 10)
    assert rate.per_s(100.0) == pytest.approx(10.0, rel=0.02)
    assert rate.per_s(200.0) == pytest.approx(0.0, abs=0.01)
