"""Status: what is claimed of what was observed, and nothing when nothing has changed."""

import dataclasses
from typing import Any

import pytest
from operator_objects import (
    NOW,
    make_agent,
    make_agent_snapshot,
    make_child,
    make_node,
    make_pod,
    make_snapshot,
)

from switchboard_operator.checks import Fault, Proofs
from switchboard_operator.conditions import MAX_MESSAGE, Claim, merge_conditions
from switchboard_operator.hosting import hosting_of
from switchboard_operator.instances import Instance, activity_of
from switchboard_operator.objects import Resource
from switchboard_operator.registry import HostedState
from switchboard_operator.status import build_agent_status, build_node_status, patch_of

COMPLETE = {"replicas": 2, "updatedReplicas": 2, "readyReplicas": 2, "availableReplicas": 2, "observedGeneration": 1}


def deployment(wanted: int = 2, /, **status: Any) -> Resource:
    return make_child("Deployment", make_node(), spec={"replicas": wanted}, status=status)


def claims(status: dict[str, Any]) -> dict[str, tuple[str, str]]:
    return {c["type"]: (c["status"], c["reason"]) for c in status["conditions"]}


def make_instance(name: str = "writers-a", state: str = "Up", *agents: HostedState) -> Instance:
    return Instance(make_pod(name), "", state, "Idle", "0.1.0", agents or (HostedState("summarizer", "Ready"),))


@pytest.mark.parametrize(
    ("seen", "desired", "progressing", "ready"),
    [
        pytest.param(None, 2, ("True", "Creating"), ("False", "Creating"), id="no Deployment yet"),
        pytest.param(deployment(**COMPLETE), 2, ("False", "Complete"), ("True", "InstancesReady"), id="all there"),
        pytest.param(
            deployment(**{**COMPLETE, "readyReplicas": 1, "availableReplicas": 1}),
            2,
            ("True", "RollingOut"),
            ("False", "InstancesNotReady"),
            id="one is missing",
        ),
        pytest.param(
            deployment(**{**COMPLETE, "updatedReplicas": 1, "replicas": 3}),
            2,
            ("True", "RollingOut"),
            ("True", "InstancesReady"),
            id="a rolling update keeps it ready",
        ),
        pytest.param(
            deployment(0, observedGeneration=1),
            0,
            ("False", "Complete"),
            ("True", "ScaledToZero"),
            id="none is as asked",
        ),
        pytest.param(
            deployment(1, observedGeneration=1, replicas=1, readyReplicas=1),
            0,
            ("True", "RollingOut"),
            ("True", "InstancesReady"),
            id="one that is ready and about to go keeps it ready",
        ),
        pytest.param(
            deployment(
                observedGeneration=1,
                conditions=[{"type": "ReplicaFailure", "status": "True", "message": "exceeded quota"}],
            ),
            2,
            ("True", "RollingOut"),
            ("False", "PodsRefused"),
            id="pods that a quota refuses",
        ),
        pytest.param(
            deployment(
                observedGeneration=1,
                conditions=[{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}],
            ),
            2,
            ("False", "Stalled"),
            ("False", "InstancesNotReady"),
            id="an update that does not get on",
        ),
    ],
)
def test_an_agentnode_by_its_deployment(
    seen: Resource | None, desired: int, progressing: tuple[str, str], ready: tuple[str, str]
) -> None:
    snapshot = make_snapshot(children=[seen] if seen else [])
    told = claims(build_node_status(snapshot, None, desired, [], NOW))
    assert told == {"Accepted": ("True", "Accepted"), "Progressing": progressing, "Ready": ready}


def test_why_pods_wait_is_told() -> None:
    snapshot = make_snapshot(
        children=[deployment(observedGeneration=1)], pods=[make_pod(waiting="container agent: ErrImagePull")]
    )
    ready = build_node_status(snapshot, None, 2, [], NOW)["conditions"][2]
    assert "writers-a: container agent: ErrImagePull" in ready["message"]


def test_a_fault_is_told_while_what_runs_stays_ready() -> None:
    snapshot = make_snapshot(children=[deployment(**COMPLETE)])
    told = claims(build_node_status(snapshot, Fault("InvalidTemplate", "no"), 2, [], NOW))
    assert told["Accepted"] == ("False", "InvalidTemplate")
    assert told["Ready"] == ("True", "InstancesReady")


def test_nothing_is_patched_when_nothing_has_changed() -> None:
    snapshot = make_snapshot(children=[deployment(**COMPLETE)])
    status = build_node_status(snapshot, None, 2, [make_instance()], NOW)
    again = make_snapshot(make_node(status=status), children=[deployment(**COMPLETE)])
    assert patch_of(status, build_node_status(again, None, 2, [make_instance()], "2027-01-01T00:00:00Z")) is None


FAILED = HostedState("summarizer", "Failed", "ImportError: no module named app")
ASLEEP = make_node(status={"conditions": [{"type": "Ready", "status": "True", "reason": "ScaledToZero"}]})


@pytest.mark.parametrize(
    ("node", "instances", "expected", "says"),
    [
        pytest.param(make_node(), [], ("False", "NoReadyInstance"), "writers", id="no instance yet"),
        pytest.param(make_node(), [make_instance()], ("True", "Serving"), "1 of 1", id="ready on one"),
        pytest.param(
            make_node(),
            [make_instance(), make_instance("writers-b", "Up", FAILED)],
            ("True", "Serving"),
            "ImportError",
            id="ready on one and failed on another",
        ),
        pytest.param(
            make_node(),
            [make_instance("writers-b", "Up", FAILED)],
            ("False", "HandlerFailed"),
            "writers-b: ImportError",
            id="failed everywhere",
        ),
        pytest.param(
            make_node(), [make_instance(state="Down")], ("False", "NoReadyInstance"), "", id="its instance is lost"
        ),
        pytest.param(
            make_node(), [make_instance(state="Draining")], ("False", "NoReadyInstance"), "", id="its instance drains"
        ),
        pytest.param(ASLEEP, [], ("True", "ScaledToZero"), "", id="its AgentNode sleeps"),
    ],
)
def test_an_agent_by_its_instances(
    node: Resource, instances: list[Instance], expected: tuple[str, str], says: str
) -> None:
    status = build_agent_status(make_agent_snapshot(make_agent(), node), None, {"writers": hosting_of(instances)}, NOW)
    assert claims(status)["Ready"] == expected
    assert says in status["conditions"][2]["message"]
    assert status["node"] == "writers"


@pytest.mark.parametrize(("ready_before", "ready_after"), [(3, 2), (1, 1), (0, 0)])
def test_where_agents_were_not_listed_what_was_ready_before_a_restart_stays_so(
    ready_before: int, ready_after: int
) -> None:
    pool = [dataclasses.replace(make_instance(name, "Up", HostedState("a", "Ready")), is_cut=True) for name in "xy"]
    agent = make_agent()
    agent.status.update(readyInstances=ready_before)
    status = build_agent_status(make_agent_snapshot(agent, make_node()), None, {"writers": hosting_of(pool)}, NOW)
    assert status["readyInstances"] == ready_after


def test_a_condition_keeps_its_time_until_its_status_flips() -> None:
    first = merge_conditions([], [Claim("Ready", False, "Creating")], 1, "t1")
    second = merge_conditions(first, [Claim("Ready", False, "InstancesNotReady", "0 of 1")], 2, "t2")
    third = merge_conditions(second, [Claim("Ready", True, "InstancesReady")], 2, "t3")
    assert [c[0]["lastTransitionTime"] for c in (first, second, third)] == ["t1", "t1", "t3"]
    assert second[0]["observedGeneration"] == 2


def test_conditions_of_others_stay_and_long_messages_are_cut() -> None:
    theirs = {"type": "Theirs", "status": "True", "reason": "X", "message": "", "lastTransitionTime": "t"}
    merged = merge_conditions([theirs], [Claim("Ready", None, "Y", "x" * 5000)], 1, "t1")
    assert [c["type"] for c in merged] == ["Ready", "Theirs"]
    assert len(merged[0]["message"]) == MAX_MESSAGE
    assert merged[0]["status"] == "Unknown"


def test_a_member_that_is_no_more_is_taken_out() -> None:
    assert patch_of({"node": "a", "type": "t"}, {"type": "t"}) == {"node": None}


@pytest.mark.parametrize(
    ("seen", "told"),
    [
        ([], "Idle"),
        (["Idle", "Idle"], "Idle"),
        (["Idle", "Busy"], "Busy"),
        (["Busy", "Saturated"], "Busy"),
        (["Idle", "Saturated"], "Busy"),
        (["Saturated", "Saturated"], "Saturated"),
    ],
)
def test_a_pool_is_saturated_when_all_of_it_is_and_busy_when_any_is(seen: list[str], told: str) -> None:
    instances = [Instance(make_pod(str(number)), "", "Up", activity, "", ()) for number, activity in enumerate(seen)]
    gone = Instance(make_pod("gone"), "", "Down", "Saturated", "", ())
    assert activity_of([*instances, gone]) == told


BOT = "spiffe://cluster.local/ns/web/sa/bot"


@pytest.mark.parametrize(
    ("callers", "proofs", "reason", "words"),
    [
        pytest.param((), Proofs(False, False), "Accepted", "", id="everybody may call"),
        pytest.param(("user:*",), Proofs(True, True), "Accepted", "", id="everybody can prove who it is"),
        pytest.param((BOT, "user:*"), Proofs(False, False), "CallersUnproven", "nobody can call it", id="nobody can"),
        pytest.param((BOT,), Proofs(False, False), "CallersUnproven", "both in the chart", id="no ServiceAccount can"),
        pytest.param(("user:*",), Proofs(True, False), "CallersUnproven", "nobody can call it", id="users cannot"),
        pytest.param((BOT, "user:*"), Proofs(True, False), "CallersUnproven", "agents alone", id="some cannot"),
        pytest.param((BOT,), Proofs(True, False), "Accepted", "", id="ServiceAccounts of pods can"),
        pytest.param(("user:*",), Proofs(False, True), "Accepted", "", id="users need no TLS"),
        pytest.param((BOT,), Proofs(False, True), "CallersUnproven", "set tls.enabled", id="pods cannot"),
    ],
)
def test_an_agent_that_names_its_callers_says_who_cannot_prove_to_be_one(
    callers: tuple[str, ...], proofs: Proofs, reason: str, words: str
) -> None:
    snapshot = make_agent_snapshot(make_agent(allowedCallers=list(callers)), make_node())
    (accepted, *_) = build_agent_status(snapshot, None, {}, NOW, proofs)["conditions"]
    assert (accepted["status"], accepted["reason"], words in accepted["message"]) == ("True", reason, True)


def test_a_fault_comes_before_the_warning_of_unproven_callers() -> None:
    snapshot = make_agent_snapshot(make_agent(allowedCallers=["user:*"]), make_node())
    status = build_agent_status(snapshot, Fault("NameConflict", "x"), {}, NOW, Proofs(False, False))
    accepted = status["conditions"][0]
    assert (accepted["status"], accepted["reason"]) == ("False", "NameConflict")
