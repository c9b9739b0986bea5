"""Faults: the first that holds names the reason and says what to do."""

import pytest
from operator_objects import make_agent, make_agent_snapshot, make_child, make_meta, make_node, make_snapshot

from switchboard_operator.binding import Claim
from switchboard_operator.checks import check_agent, check_node, is_foreign, is_leftover, unresolved
from switchboard_operator.objects import Resource
from switchboard_operator.snapshot import AgentSnapshot, NodeSnapshot


@pytest.mark.parametrize(
    ("snapshot", "reason", "says"),
    [
        pytest.param(make_snapshot(), None, "", id="a plain AgentNode is accepted"),
        pytest.param(
            make_snapshot(make_node(autoscaling={"minReplicas": 5, "maxReplicas": 2})),
            "InvalidSpec",
            "autoscaling.minReplicas",
            id="bounds written past the CRD are refused with the field",
        ),
        pytest.param(
            make_snapshot(children=[make_child("Service", make_node(), owner_uid="", owner_kind="", owner_name="")]),
            "NameConflict",
            "Service writers",
            id="an object without an owner is somebody else's",
        ),
        pytest.param(
            make_snapshot(children=[make_child("Deployment", make_node("others"), "writers")]),
            "NameConflict",
            "Deployment writers",
            id="another AgentNode's object is somebody else's",
        ),
        pytest.param(
            make_snapshot(children=[make_child("Deployment", make_node(), owner_uid="uid-former")]),
            None,
            "",
            id="what a former AgentNode left behind is no conflict",
        ),
    ],
)
def test_an_agentnode(snapshot: NodeSnapshot, reason: str | None, says: str) -> None:
    fault = check_node(snapshot)
    assert (fault.reason if fault else None) == reason
    assert says in (fault.message if fault else "")


OLDER = Claim("2026-10-01T00:00:00Z", "elder", "uid-elder", "1.0.0")


@pytest.mark.parametrize(
    ("snapshot", "reason", "says"),
    [
        pytest.param(make_agent_snapshot(), None, "", id="a plain Agent is accepted"),
        pytest.param(
            make_agent_snapshot(make_agent(type="tasks")), "InvalidSpec", "reserved", id="a reserved type is refused"
        ),
        pytest.param(
            make_agent_snapshot(make_agent(), rival=OLDER), "AgentIdConflict", "elder", id="the older one is named"
        ),
        pytest.param(
            make_agent_snapshot(make_agent("writers", node={}), own_node=make_node()),
            "NameConflict",
            "AgentNode writers",
            id="an AgentNode of the same name is not taken",
        ),
        pytest.param(
            make_agent_snapshot(
                make_agent("writers", node={}),
                own_node=make_node(meta=make_meta(owner_kind="Agent", owner_name="writers", owner_uid="uid-writers")),
            ),
            None,
            "",
            id="the Agent's own AgentNode is its own",
        ),
    ],
)
def test_an_agent(snapshot: AgentSnapshot, reason: str | None, says: str) -> None:
    fault = check_agent(snapshot)
    assert (fault.reason if fault else None) == reason
    assert says in (fault.message if fault else "")


@pytest.mark.parametrize(
    ("snapshot", "reason"),
    [
        pytest.param(make_agent_snapshot(make_agent(), make_node()), None, id="its AgentNode is there"),
        pytest.param(make_agent_snapshot(make_agent()), "NodeNotFound", id="its AgentNode is missing"),
        pytest.param(
            make_agent_snapshot(make_agent(nodeSelector={"matchLabels": {"a": "b"}})),
            "NoMatchingNodes",
            id="no AgentNode has the labels",
        ),
        pytest.param(make_agent_snapshot(make_agent(node={})), None, id="an inline AgentNode is about to be made"),
    ],
)
def test_references(snapshot: AgentSnapshot, reason: str | None) -> None:
    fault = unresolved(snapshot)
    assert (fault.reason if fault else None) == reason
    assert fault is None or ":" in fault.message, "a message says what to do"


@pytest.mark.parametrize(
    ("child", "foreign", "leftover"),
    [
        pytest.param(make_child("Service", make_node()), False, False, id="ours"),
        pytest.param(make_child("Service", make_node(), owner_uid="uid-former"), False, True, id="a former one's"),
        pytest.param(make_child("Service", make_node("others"), "writers"), True, False, id="another one's"),
        pytest.param(make_child("Service", make_node(), owner_uid="", owner_kind=""), True, False, id="nobody's"),
    ],
)
def test_ownership(child: Resource, foreign: bool, leftover: bool) -> None:
    assert (is_foreign(child, make_node()), is_leftover(child, make_node())) == (foreign, leftover)
