"""What the operator reads and writes is in the oldest supported Kubernetes."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from oldest_kubernetes import KINDS, VERSION, is_of_kubernetes, unknown_fields
from operator_objects import AROUND, IMAGES, make_node

import switchboard_kube.resources
from switchboard_kube import Resource
from switchboard_operator import desired
from switchboard_operator.signals import Source

Json = dict[str, Any]
ROOT = Path(__file__).resolve().parents[3]
NODE = make_node(
    autoscaling={"minReplicas": 0, "maxReplicas": 9, "inFlightPerInstance": 8, "queuedPerInstance": 2},
    template={"spec": {"initContainers": [{"name": "prepare", "image": "x"}]}},
)
CHILDREN = {
    "deployment": desired.build_deployment(NODE, 2, IMAGES, AROUND),
    "service": desired.build_service(NODE),
    "budget": desired.build_budget(NODE),
    "account": desired.build_account(NODE),
    "config map": desired.build_config_map(NODE, "{}"),
    **{f"autoscaler {source}": desired.build_autoscaler(NODE, source) for source in Source},
}


@pytest.mark.parametrize("manifest", CHILDREN.values(), ids=list(CHILDREN))
def test_a_child_has_no_field_that_the_oldest_kubernetes_lacks(manifest: Json) -> None:
    assert unknown_fields(manifest) == []


def test_every_resource_of_the_client_is_in_the_oldest_kubernetes() -> None:
    found = [value for value in vars(switchboard_kube.resources).values() if isinstance(value, Resource)]
    asked = {f"{item.api_version} {item.kind}" for item in found if is_of_kubernetes(item.api_version)}
    assert len(asked) > 10
    assert asked <= set(KINDS)


@pytest.mark.parametrize(
    ("path", "newer"),
    [
        (("template", "spec"), "hostnameOverride"),  # 1.34
        (("template", "spec", "containers", 0), "restartPolicyRules"),  # 1.34
        (("template", "spec", "initContainers", 0, "lifecycle"), "stopSignal"),  # 1.33
    ],
)
def test_a_newer_field_would_be_found(path: tuple[str | int, ...], newer: str) -> None:
    manifest = desired.build_deployment(NODE, 2, IMAGES, AROUND)
    place: Any = manifest["spec"]
    for step in path:
        place = place[step]
    place[newer] = "anything"
    (found,) = unknown_fields(manifest)
    assert found.endswith(f".{newer}")


def test_a_kind_that_came_later_would_be_found() -> None:
    kind = "admissionregistration.k8s.io/v1 MutatingAdmissionPolicy"
    api_version, _, name = kind.partition(" ")
    assert unknown_fields({"apiVersion": api_version, "kind": name}) == [kind]


def test_the_list_is_of_the_version_that_the_chart_asks_for() -> None:
    chart = yaml.safe_load((ROOT / "charts" / "switchboard" / "Chart.yaml").read_text())
    assert chart["kubeVersion"] == f">={VERSION}-0"
