"""Who runs where, and who wins."""

import dataclasses
from typing import Any

import pytest
from operator_objects import make_agent, make_meta, make_node

from switchboard_operator.assignments import build_assignments
from switchboard_operator.binding import Claim, claim_of, rival_of, selects
from switchboard_operator.objects import Resource
from switchboard_operator.snapshot import Indexes, agent_snapshot, bound_agents, node_snapshot, nodes_of


@pytest.mark.parametrize(
    ("selector", "labels", "matches"),
    [
        pytest.param({"matchLabels": {"a": "1"}}, {"a": "1", "b": "2"}, True, id="a label that is there"),
        pytest.param({"matchLabels": {"a": "1"}}, {"a": "2"}, False, id="a label of another value"),
        pytest.param(
            {"matchExpressions": [{"key": "a", "operator": "In", "values": ["1", "2"]}]}, {"a": "2"}, True, id="in"
        ),
        pytest.param(
            {"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["1"]}]}, {}, True, id="not in, absent"
        ),
        pytest.param({"matchExpressions": [{"key": "a", "operator": "Exists"}]}, {}, False, id="must exist"),
        pytest.param({"matchExpressions": [{"key": "a", "operator": "DoesNotExist"}]}, {}, True, id="must not exist"),
        pytest.param({}, {"a": "1"}, False, id="an empty selector selects nothing"),
    ],
)
def test_selectors(selector: dict[str, Any], labels: dict[str, str], matches: bool) -> None:
    assert selects(selector, labels) == matches


def claim(name: str, created: str, version: str = "1.0.0") -> Claim:
    return Claim(created, name, f"uid-{name}", version)


@pytest.mark.parametrize(
    ("others", "rival"),
    [
        pytest.param([], None, id="alone"),
        pytest.param([claim("b", "2026-12-01")], None, id="a younger one"),
        pytest.param([claim("b", "2026-10-01")], "b", id="an older one"),
        pytest.param([claim("b", "2026-10-01", "2.0.0")], None, id="an older one of another version"),
        pytest.param([claim("b", "2026-10-01"), claim("c", "2026-09-01")], "c", id="the oldest of several"),
        pytest.param([claim("a", "2026-11-01")], "a", id="of the same second, by name"),
    ],
)
def test_rivals(others: list[Claim], rival: str | None) -> None:
    agent = make_agent("b2", meta=make_meta("b2", created="2026-11-01"))
    found = rival_of(agent, [*others, claim_of(agent)])
    assert (found.name if found else None) == rival


def indexes(nodes: list[Resource], agents: list[Resource]) -> Indexes:
    """Indexes of one namespace."""
    naming: dict[tuple[str, str], list[Resource]] = {}
    claims: dict[tuple[str, str], list[Claim]] = {}
    for agent in agents:
        reference = agent.meta.name if "node" in agent.spec else (agent.spec.get("nodeRef") or {}).get("name", "")
        naming.setdefault(("ns", reference), []).append(agent)
        claims.setdefault(("ns", agent.spec.get("type") or agent.meta.name), []).append(claim_of(agent))
    return Indexes(
        nodes={("ns", node.meta.name): [node] for node in nodes},
        nodes_in={"ns": nodes},
        agents={("ns", agent.meta.name): [agent] for agent in agents},
        claims=claims,
        agents_naming=naming,
        agents_selecting={"ns": [agent for agent in agents if "nodeSelector" in agent.spec]},
    )


def test_agents_are_bound_by_name_by_label_and_by_ownership() -> None:
    node = make_node(meta=make_meta("writers", labels={"pool": "fast"}))
    by_name, by_label = make_agent("a"), make_agent("b", nodeSelector={"matchLabels": {"pool": "fast"}})
    stranger = make_agent("writers", node={})
    world = indexes([node], [by_name, by_label, stranger])
    assert bound_agents(world, node) == (by_name, by_label)
    assert nodes_of(world, stranger) == ()
    owned = dataclasses.replace(node, meta=dataclasses.replace(node.meta, owner_uid="uid-writers"))
    world = indexes([owned], [stranger])
    assert bound_agents(world, owned) == (stranger,)
    assert nodes_of(world, stranger) == (owned,)


@pytest.mark.parametrize(
    ("registration", "reserved"), [("Declared", ()), ("Dynamic", ("chat",))], ids=["Declared", "Dynamic"]
)
def test_code_may_not_register_the_types_of_agents_that_are_bound_elsewhere(
    registration: str, reserved: tuple[str, ...]
) -> None:
    node = make_node(registration=registration)
    world = indexes([node], [make_agent("a"), make_agent("b", type="chat", nodeRef={"name": "others"})])
    snapshot = node_snapshot(world, "ns", "writers")
    assert snapshot is not None
    assert snapshot.reserved == reserved
    assert tuple(build_assignments(node, snapshot.agents, snapshot.reserved).reserved) == reserved


def test_a_snapshot_leaves_out_who_lost_and_who_is_being_deleted() -> None:
    node = make_node()
    first = make_agent("first", type="chat", meta=make_meta("first", created="2026-10-01"))
    second = make_agent("second", type="chat", meta=make_meta("second", created="2026-11-01"))
    leaving = make_agent("leaving", meta=make_meta("leaving", deleting=True))
    world = indexes([node], [first, second, leaving])
    snapshot = node_snapshot(world, "ns", "writers")
    assert snapshot is not None
    assert snapshot.agents == (first,)
    lost = agent_snapshot(world, "ns", "second")
    assert lost is not None
    assert lost.rival is not None
    assert lost.rival.name == "first"


def test_what_is_gone_has_no_snapshot() -> None:
    assert node_snapshot(Indexes(), "ns", "writers") is None
    assert agent_snapshot(Indexes(), "ns", "a") is None


def test_sidecars_are_told_which_agents_only_some_may_call() -> None:
    agents = [make_agent("open"), make_agent("ours", allowedCallers=["user:jane"])]
    told = build_assignments(make_node(), agents).agents
    assert {agent.name: agent.restricted for agent in told} == {"open": False, "ours": True}
