"""The benchmark of the control plane: what it makes, and how it judges."""

import json
from pathlib import Path
from typing import Any

import pytest

from bench.control_plane_table import judge, render
from bench.convergence import percentile
from bench.fleet import Fleet, fake_nodes, write_lists
from switchboard.resources import Agent, AgentNode

FLEET = Fleet(nodes=3, pods_per_node=2, agents=7)


def test_a_fleet_is_what_the_crds_accept() -> None:
    nodes, agents = list(FLEET.agent_nodes("ns")), list(FLEET.agents_of("ns"))
    assert len({AgentNode.from_wire(node).metadata.name for node in nodes}) == 3
    assert len({Agent.from_wire(agent).metadata.name for agent in agents}) == 7
    placed = {agent["spec"]["nodeRef"]["name"] for agent in agents}
    assert placed == {node["metadata"]["name"] for node in nodes}, "no pool is left out"


def test_pods_are_on_nodes_that_are_there() -> None:
    there = {node["metadata"]["name"] for node in fake_nodes()}
    asked = {node["spec"]["template"]["spec"]["nodeName"] for node in Fleet(100, 1, 0).agent_nodes("ns")}
    assert asked <= there


def test_the_children_are_those_of_the_operator_without_an_owner() -> None:
    children = list(FLEET.children("ns"))
    kinds = [child["kind"] for child in children]
    assert {kind: kinds.count(kind) for kind in kinds} == dict.fromkeys(
        ("ServiceAccount", "ConfigMap", "Service", "PodDisruptionBudget", "Deployment"), 3
    )
    assert not [child for child in children if "ownerReferences" in child["metadata"]]
    deployment = next(child for child in children if child["kind"] == "Deployment")
    assert deployment["spec"]["replicas"] == 2
    assert deployment["spec"]["template"]["spec"]["nodeName"] == "fake-00"


def test_files_hold_every_object_once(tmp_path: Path) -> None:
    files = write_lists(tmp_path, "agents", FLEET.agents_of("ns"), parts=3)
    names = [item["metadata"]["name"] for file in files for item in json.loads(file.read_text())["items"]]
    assert len(files) == 3
    assert sorted(names) == [agent["metadata"]["name"] for agent in FLEET.agents_of("ns")]


@pytest.mark.parametrize(("percent", "value"), [(50, 50), (99, 99), (100, 100), (1, 1)])
def test_percentiles(percent: int, value: int) -> None:
    assert percentile(list(range(100, 0, -1)), percent) == value
    assert percentile([3.0], percent) == 3.0


def figures(**changed: Any) -> dict[str, Any]:
    fleet = {
        "agents": 1000,
        "pods": 1000,
        "applied_s": 20.0,
        "ready_s": 25.0,
        "ready_everywhere_s": 27.0,
        "plane_cpu_s": 30.0,
        "operator_ready_cpu_s": 15.0,
        "operator_rss_mib": 130.0,
        "operator_peak_mib": 140.0,
        "sidecars_cpu_s": 4.0,
        "reconciles": 3000.0,
        "writes_per_agent": 3.0,
        "writes_per_s": 110.0,
        "writes_by": {"status Agent": 2000.0, "apply ConfigMap": 1000.0},
    }
    found: dict[str, Any] = {
        "plain": {"applied_s": 18.0, "ready_s": 20.0, "plane_cpu_s": 30.0},
        "ours": fleet,
        "steady": {
            "writes_per_s": 0.6,
            "instances": 1000,
            "heartbeats_per_s": 500.0,
            "operator_cpu_share": 0.2,
            "operator_rss_mib": 130.0,
        },
        "edits": {"edits": 100, "p50_ms": 40.0, "p99_ms": 90.0},
        "warm": {"agents": 100, "p50_ms": 30.0, "p99_ms": 120.0},
    }
    return {name: held | changed.get(name, {}) for name, held in found.items()}


@pytest.mark.parametrize(
    ("changed", "missed"),
    [
        pytest.param({}, 0, id="all are met"),
        pytest.param({"ours": {"ready_s": 31.0}}, 1, id="slower than half as long again"),
        pytest.param({"ours": {"ready_s": 61.0}}, 2, id="slower than a minute"),
        pytest.param({"ours": {"writes_per_agent": 4.1}}, 1, id="too many writes"),
        pytest.param({"steady": {"writes_per_s": 1.2}}, 1, id="writes when nothing happens"),
        pytest.param({"warm": {"p99_ms": 501.0}}, 1, id="a new agent that is late"),
    ],
)
def test_each_target_is_judged(changed: dict[str, Any], missed: int) -> None:
    assert sum(not met for *_, met in judge(figures(**changed))) == missed


def test_the_table_tells_ratios_to_the_plain_apply_of_the_same_run() -> None:
    page = render(figures())
    assert "| the same beside plain apply | 1.25 × 20.0 s | ≤ 1.5 × | yes |" in page
    ours = next(line for line in page.splitlines() if line.startswith("| operator, 1,000 Agents"))
    assert ours.split(" | ")[1:7] == ["20.0", "25.0", "1.25", "45.0", "1.50", "15.0"]
    assert "status Agent 2.00, apply ConfigMap 1.00" in page
    assert {line.count("|") for line in page.splitlines() if line.startswith(("| operator,", "| fleet"))} == {15}


def test_a_large_fleet_stands_in_the_same_tables() -> None:
    found = figures()
    page = render(found | {"plain large": found["plain"], "ours large": found["ours"], "steady large": found["steady"]})
    assert page.count("| operator, ") == 2
    assert "| all fleets | 1,000 |" in page
