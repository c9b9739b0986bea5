"""Chart.yaml tells the truth about the project."""

import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from switchboard_wire import names


@pytest.fixture
def metadata(chart: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((chart / "Chart.yaml").read_text())
    return loaded


def test_versions_are_the_distribution_s(chart: Path, metadata: dict[str, Any]) -> None:
    project = tomllib.loads((chart.parents[1] / "pyproject.toml").read_text())["project"]
    assert (metadata["version"], metadata["appVersion"]) == (project["version"], project["version"])
    assert metadata["annotations"]["artifacthub.io/license"] == project["license"]


def test_definitions_are_listed(metadata: dict[str, Any]) -> None:
    listed = yaml.safe_load(metadata["annotations"]["artifacthub.io/crds"])
    assert {(crd["kind"], crd["version"], crd["name"]) for crd in listed} == {
        (names.AGENT_NODE, names.VERSION, f"{names.AGENT_NODES}.{names.GROUP}"),
        (names.AGENT, names.VERSION, f"{names.AGENTS}.{names.GROUP}"),
    }


def test_changes_have_a_kind_that_artifact_hub_knows(metadata: dict[str, Any]) -> None:
    changes = yaml.safe_load(metadata["annotations"]["artifacthub.io/changes"])
    known = {"added", "changed", "deprecated", "removed", "fixed", "security"}
    assert {change["kind"] for change in changes} <= known
    assert all(change["description"] for change in changes)
