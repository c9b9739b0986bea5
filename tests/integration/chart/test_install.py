"""The chart on a real API server: installed, upgraded, taken away. No node runs there, so no pod does."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from switchboard_wire import names

pytestmark = pytest.mark.integration

Manifest = dict[str, Any]
NAMESPACE = "mesh-system"
CRDS = (f"{names.AGENTS}.{names.GROUP}", f"{names.AGENT_NODES}.{names.GROUP}")


@pytest.fixture(scope="module")
def installed(server: Any, chart: str) -> Iterator[Any]:
    """The server, with the chart installed in a namespace that enforces Pod Security `restricted`."""
    enforce = "pod-security.kubernetes.io/enforce=restricted"
    succeed(server.kubectl("create", "namespace", NAMESPACE))
    succeed(server.kubectl("label", "namespace", NAMESPACE, enforce))
    # No pod is admitted before the controller manager has made it
    succeed(server.kubectl("wait", "--for=create", "serviceaccount/default", "-n", NAMESPACE, "--timeout=90s"))
    succeed(server.helm("install", "mesh", chart, "--namespace", NAMESPACE))
    yield server
    succeed(server.helm("uninstall", "mesh", "--namespace", NAMESPACE))
    succeed(server.kubectl("delete", "crd", *CRDS, "--timeout=90s"))


def succeed(outcome: Any) -> str:
    assert outcome.status == 0, outcome.stderr
    text: str = outcome.stdout
    return text


def test_the_notes_give_the_next_commands(installed: Any) -> None:
    notes = succeed(installed.helm("get", "notes", "mesh", "--namespace", NAMESPACE))
    assert f"helm test mesh --namespace {NAMESPACE}" in notes
    assert f"http://{names.GATEWAY_SERVICE}.{NAMESPACE}.svc" in notes


def test_every_pod_is_admitted_where_restricted_is_enforced(installed: Any, render: Callable[..., Any]) -> None:
    for item in render():
        if item["kind"] == "Deployment":
            template = item["spec"]["template"]
            metadata = {**template["metadata"], "name": "probe", "namespace": NAMESPACE}
            pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}
            succeed(installed.kubectl("create", "--dry-run=server", "-f", "-", stdin=json.dumps(pod)))
        elif item["kind"] == "Pod":
            succeed(installed.kubectl("create", "--dry-run=server", "-f", "-", stdin=json.dumps(item)))


def test_the_test_s_agent_is_valid(installed: Any, render: Callable[..., Any]) -> None:
    for item in render():
        if item["kind"] in {names.AGENT, names.AGENT_NODE}:
            succeed(installed.kubectl("create", "--dry-run=server", "-f", "-", stdin=json.dumps(item)))


ALLOWED = {
    "operator makes Deployments anywhere": ("operator", "create", "deployments.apps", "elsewhere"),
    "operator scales an AgentNode": ("operator", "patch", "agentnodes.switchboard.dev/scale", "elsewhere"),
    "operator makes its Lease": ("operator", "create", "leases.coordination.k8s.io", NAMESPACE),
    "operator renews its Lease": ("operator", "update", "leases.coordination.k8s.io/switchboard-operator", NAMESPACE),
    "operator keeps its CA": ("operator", "update", "secrets/switchboard-ca", NAMESPACE),
    "gateway watches Agents": ("gateway", "watch", "agents.switchboard.dev", "elsewhere"),
    "gateway watches slices": ("gateway", "watch", "endpointslices.discovery.k8s.io", NAMESPACE),
}
DENIED = {
    "operator reads other secrets": ("operator", "get", "secrets/other", NAMESPACE),
    "operator lists secrets": ("operator", "list", "secrets", NAMESPACE),
    "operator reads secrets elsewhere": ("operator", "get", "secrets/switchboard-ca", "elsewhere"),
    "operator changes an Agent": ("operator", "patch", "agents.switchboard.dev", "elsewhere"),
    "operator execs into pods": ("operator", "create", "pods/exec", "elsewhere"),
    "operator makes Leases elsewhere": ("operator", "create", "leases.coordination.k8s.io", "elsewhere"),
    "operator takes another's Lease": ("operator", "update", "leases.coordination.k8s.io/other", NAMESPACE),
    "gateway writes a status": ("gateway", "patch", "agents.switchboard.dev/status", "elsewhere"),
    "gateway reads secrets": ("gateway", "list", "secrets", NAMESPACE),
    "gateway sees pods": ("gateway", "list", "pods", NAMESPACE),
}


@pytest.mark.parametrize("question", ALLOWED.values(), ids=ALLOWED.keys())
def test_may(installed: Any, question: tuple[str, str, str, str]) -> None:
    assert answer(installed, question) == "yes"


@pytest.mark.parametrize("question", DENIED.values(), ids=DENIED.keys())
def test_may_not(installed: Any, question: tuple[str, str, str, str]) -> None:
    assert answer(installed, question) == "no"


def answer(server: Any, question: tuple[str, str, str, str]) -> str:
    component, verb, resource, namespace = question
    account = f"--as=system:serviceaccount:{NAMESPACE}:switchboard-{component}"
    subresource: list[str] = []
    if resource.endswith(("/scale", "/status", "/exec")):
        resource, _, part = resource.partition("/")
        subresource = [f"--subresource={part}"]
    text: str = server.kubectl("auth", "can-i", verb, resource, *subresource, "-n", namespace, account).stdout
    return text.strip()


def test_an_upgrade_changes_what_it_was_asked_to(installed: Any, chart: str) -> None:
    succeed(installed.helm("upgrade", "mesh", chart, "--namespace", NAMESPACE, values={"gateway": {"replicas": 3}}))
    replicas = installed.kubectl(
        "get", "deployment", "switchboard-gateway", "-n", NAMESPACE, "-o", "jsonpath={.spec.replicas}"
    )
    assert succeed(replicas) == "3"


AGENT_NODE = {
    "apiVersion": names.API_VERSION,
    "kind": names.AGENT_NODE,
    "metadata": {"name": "writers", "namespace": "default"},
    "spec": {"replicas": 1},
}


def test_definitions_and_agents_outlive_the_release(installed: Any, chart: str) -> None:
    succeed(installed.kubectl("create", "-f", "-", stdin=json.dumps(AGENT_NODE)))
    succeed(installed.helm("uninstall", "mesh", "--namespace", NAMESPACE))
    left = installed.kubectl(
        "get", "clusterroles,deployments", "-A", "-l", "app.kubernetes.io/part-of=switchboard", "-o", "name"
    )
    assert succeed(left) == ""
    assert "writers" in succeed(installed.kubectl("get", names.AGENT_NODES, "-A", "-o", "name"))
    # A release of the same name takes the kept definitions over
    succeed(installed.helm("install", "mesh", chart, "--namespace", NAMESPACE))


def test_a_second_release_beside_it_keeps_to_its_namespaces(installed: Any, chart: str) -> None:
    succeed(installed.kubectl("create", "namespace", "team"))
    values = {"crds": {"enabled": False}, "rbac": {"namespaced": True}, "watchNamespaces": ["team"]}
    succeed(installed.helm("install", "team", chart, "--namespace", "team", values=values))
    succeed(installed.helm("uninstall", "team", "--namespace", "team"))
    for crd in CRDS:
        succeed(installed.kubectl("get", "crd", crd))
