"""The workflow runs targets that the Makefile has, with the versions that the project has, and pins what it uses."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from devcluster.settings import KIND_VERSION

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def workflow() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yaml").read_text())
    return loaded


def steps(workflow: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for job in workflow["jobs"].values():
        yield from job["steps"]


def targets() -> set[str]:
    makefiles = [ROOT / "Makefile", *(ROOT / "hack").glob("*/*.mk")]
    return {name for path in makefiles for name in re.findall(r"^([a-z-]+):", path.read_text(), re.MULTILINE)}


def test_every_target_is_in_the_makefile(workflow: dict[str, Any]) -> None:
    used = {name for step in steps(workflow) for name in re.findall(r"^make ([a-z-]+)$", step.get("run", ""), re.M)}
    assert used == {"check", "test-integration", "cluster", "test", "down"}
    assert used <= targets()


def test_every_action_is_pinned_by_its_commit(workflow: dict[str, Any]) -> None:
    used = [step["uses"] for step in steps(workflow) if "uses" in step]
    assert used
    assert [name for name in used if not re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", name)] == []


def test_kind_is_the_project_s(workflow: dict[str, Any]) -> None:
    assert workflow["env"]["KIND_VERSION"] == f"v{KIND_VERSION}"


def test_the_oldest_kubernetes_is_the_chart_s(workflow: dict[str, Any]) -> None:
    chart = yaml.safe_load((ROOT / "charts" / "switchboard" / "Chart.yaml").read_text())
    tested = [entry["kubernetes"] for entry in workflow["jobs"]["journeys"]["strategy"]["matrix"]["include"]]
    assert f">={tested[0]}.0-0" == chart["kubeVersion"]


def test_every_node_image_is_of_the_version_it_is_named_for(workflow: dict[str, Any]) -> None:
    for entry in workflow["jobs"]["journeys"]["strategy"]["matrix"]["include"]:
        assert re.fullmatch(rf"kindest/node:v{entry['kubernetes']}\.\d+@sha256:[0-9a-f]{{64}}", entry["node"])
