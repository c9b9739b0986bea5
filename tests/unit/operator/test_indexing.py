"""Under which keys watched objects are found."""

from typing import Any

from switchboard_operator.indexing import AGENTS, INDEXES, NODES, Part
from switchboard_operator.snapshot import Indexes, agent_snapshot, node_snapshot


class Stored(dict[Any, list[Any]]):
    """An index as kopf keeps it: all values of a key."""

    def take(self, found: dict[Any, Any]) -> None:
        for key, value in found.items():
            self.setdefault(key, []).append(value)


def body(kind: str, name: str, **spec: Any) -> dict[str, Any]:
    return {"kind": kind, "metadata": {"name": name, "namespace": "ns", "uid": f"uid-{name}"}, "spec": spec}


def indexes_of(*bodies: dict[str, Any]) -> Indexes:
    whole = {address: Stored() for _, address, _ in INDEXES}
    for _, address, keys in INDEXES:
        if address in (NODES, AGENTS):
            for held in bodies:
                if (held["kind"] == "AgentNode") == (address == NODES):
                    whole[address].take(dict(keys(held)))
    nodes = {part: Part(whole[NODES], part) for part in ("nodes", "nodes_in")}
    parts = ("agents", "claims", "agents_naming", "agents_selecting")
    return Indexes(**nodes, **{part: Part(whole[AGENTS], part) for part in parts})


def test_agents_are_found_by_name_type_and_placement() -> None:
    indexes = indexes_of(
        body("AgentNode", "writers"),
        body("AgentNode", "readers"),
        body("Agent", "a", nodeRef={"name": "writers"}),
        body("Agent", "b", type="a", version="2.0.0", nodeRef={"name": "writers"}),
        body("Agent", "c", nodeSelector={"matchLabels": {"x": "y"}}),
    )
    assert set(indexes.nodes) == {("ns", "writers"), ("ns", "readers")}
    assert len(indexes.nodes_in["ns"]) == 2
    assert set(indexes.agents) == {("ns", "a"), ("ns", "b"), ("ns", "c")}
    assert {claim.name for claim in indexes.claims[("ns", "a")]} == {"a", "b"}
    assert [agent.meta.name for agent in indexes.agents_selecting["ns"]] == ["c"]
    snapshot = node_snapshot(indexes, "ns", "writers")
    assert snapshot is not None
    assert [agent.meta.name for agent in snapshot.agents] == ["a", "b"]
    agent = agent_snapshot(indexes, "ns", "a")
    assert agent is not None
    assert [node.meta.name for node in agent.nodes] == ["writers"]


def test_a_part_is_a_mapping_of_its_own() -> None:
    part = Part({("a", 1): "x", ("b", 1): "y", ("a", 2): "z"}, "a")
    assert dict(part) == {1: "x", 2: "z"}
    assert len(part) == 2
    assert 1 in part
    assert 3 not in part
    assert part.get(3) is None
