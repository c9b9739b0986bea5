"""Operator and gateway do their work with the rights that the chart grants, cluster-wide or in one namespace."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from devcluster.waiting import wait_until

from switchboard_gateway.circuit_events import event_of
from switchboard_gateway.circuit_news import News
from switchboard_wire import names

pytestmark = pytest.mark.integration

TIMEOUT = "--timeout=90s"
NODE = {
    "apiVersion": names.API_VERSION,
    "kind": names.AGENT_NODE,
    "metadata": {"name": "writers"},
    "spec": {"replicas": 2},
}
INLINE = {
    "apiVersion": names.API_VERSION,
    "kind": names.AGENT,
    "metadata": {"name": "chat"},
    "spec": {"node": {"replicas": 1}, "handler": {"python": {"entry": "app:chat"}}},
}


def succeed(outcome: Any) -> str:
    assert outcome.status == 0, outcome.stderr
    text: str = outcome.stdout
    return text


@pytest.fixture(
    params=[
        {},
        {"watchNamespaces": ["served"], "rbac": {"namespaced": True}},
    ],
    ids=["cluster-wide", "in one namespace"],
)
def values(request: pytest.FixtureRequest) -> dict[str, Any]:
    chosen: dict[str, Any] = request.param
    return chosen


@pytest.fixture
def release(server: Any, chart: str, values: dict[str, Any]) -> Iterator[Any]:
    """The server with a release in `rights`, and the namespace `served` that it serves."""
    for namespace in ("rights", "served"):
        succeed(server.kubectl("create", "namespace", namespace))
    succeed(server.helm("install", "rights", chart, "--namespace", "rights", values=values))
    try:
        yield server
    finally:
        succeed(server.helm("uninstall", "rights", "--namespace", "rights"))
        for crd in (names.AGENTS, names.AGENT_NODES):
            succeed(server.kubectl("delete", "crd", f"{crd}.{names.GROUP}", TIMEOUT))
        succeed(server.kubectl("delete", "namespace", "rights", "served", TIMEOUT))


def kubeconfig_of(server: Any, component: str, folder: Path) -> Path:
    """A kubeconfig with a token of the component's ServiceAccount."""
    config = yaml.safe_load(server.kubeconfig.read_text())
    token = succeed(server.kubectl("create", "token", f"switchboard-{component}", "--namespace", "rights")).strip()
    config["users"] = [{"name": user["name"], "user": {"token": token}} for user in config["users"]]
    path = folder / f"{component}.kubeconfig"
    path.write_text(yaml.safe_dump(config))
    return path


@contextlib.contextmanager
def running(server: Any, component: str, values: dict[str, Any], folder: Path) -> Iterator[Path]:
    """The component as a process with the rights of its ServiceAccount; yields its log."""
    ports = ("METRICS", "REGISTRY", "OPS", "GRPC", "HTTP", "LINKS")
    environment = {
        **os.environ,
        **{f"SWITCHBOARD_{port}_PORT": "0" for port in ports},
        "KUBECONFIG": str(kubeconfig_of(server, component, folder)),
        names.ENV_NAMESPACE: "rights",
        names.ENV_POD_NAMESPACE: "rights",
        names.ENV_CHECK_TOKENS: "true",
        **({names.ENV_TLS: "own"} if component == "operator" else {}),
        names.ENV_WATCH_NAMESPACES: ",".join(values.get("watchNamespaces", [])),
        names.ENV_LOG_LEVEL: "INFO",
        names.ENV_METRICS_APIS: "" if values.get("rbac", {}).get("namespaced") else "custom,external",
    }
    log = folder / f"{component}.log"
    with log.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", f"switchboard_{component}"], env=environment, stderr=file, stdout=file
        )
        try:
            yield log
        finally:
            process.terminate()
            process.wait(timeout=60)


def test_the_operator_may_do_all_that_it_does(release: Any, values: dict[str, Any], tmp_path: Path) -> None:
    kubectl = release.kubectl
    with running(release, "operator", values, tmp_path) as log:
        succeed(kubectl("apply", "--namespace", "served", "-f", "-", stdin=json.dumps(NODE)))
        succeed(kubectl("apply", "--namespace", "served", "-f", "-", stdin=json.dumps(INLINE)))
        created = ("deployment/writers", "poddisruptionbudget/writers", "service/writers", "serviceaccount/writers")
        for name in (*created, f"{names.AGENT_NODES}.{names.GROUP}/chat", "deployment/chat"):
            waited = kubectl("wait", "--for=create", name, "--namespace", "served", TIMEOUT)
            assert waited.status == 0, f"{waited.stderr}\n{log.read_text()[-4000:]}"
        node = f"{names.AGENT_NODES}.{names.GROUP}/writers"
        succeed(kubectl("wait", "--for=condition=Accepted", node, "--namespace", "served", TIMEOUT))
        on = {"spec": {"autoscaling": {"minReplicas": 1, "maxReplicas": 4}, "replicas": None}}
        succeed(kubectl("patch", node, "--namespace", "served", "--type=merge", "-p", json.dumps(on)))
        succeed(kubectl("wait", "--for=create", "hpa/writers", "--namespace", "served", TIMEOUT))
        off = {"spec": {"autoscaling": None, "replicas": 3}}
        succeed(kubectl("patch", node, "--namespace", "served", "--type=merge", "-p", json.dumps(off)))
        succeed(kubectl("wait", "--for=delete", "hpa/writers", "--namespace", "served", TIMEOUT))
        scaled = "--for=jsonpath={.spec.replicas}=3"
        succeed(kubectl("wait", scaled, "deployment/writers", "--namespace", "served", TIMEOUT))
        succeed(kubectl("wait", "--for=create", "lease/switchboard-operator", "--namespace", "rights", TIMEOUT))
        if not values:
            bundle = "--for=jsonpath={.spec.caBundle}"
            succeed(kubectl("wait", bundle, "apiservice/v1beta2.custom.metrics.k8s.io", TIMEOUT))
            assert "metrics API takes requests" in log.read_text()
        for name in ("switchboard-ca", "switchboard-gateway-tls"):
            succeed(kubectl("wait", "--for=create", f"secret/{name}", "--namespace", "rights", TIMEOUT))
        events = succeed(kubectl("get", "events.events.k8s.io", "--namespace", "served", "-o", "name"))
    assert "event.events.k8s.io/writers." in events
    assert_nothing_was_forbidden(log)


def test_the_gateway_may_see_all_that_it_reads(release: Any, values: dict[str, Any], tmp_path: Path) -> None:
    succeed(release.kubectl("apply", "--namespace", "served", "-f", "-", stdin=json.dumps(INLINE)))
    with running(release, "gateway", values, tmp_path) as log:
        wait_until(lambda: "directory changed" in log.read_text(), "the gateway's directory", 60)
    assert_nothing_was_forbidden(log)


def test_the_gateway_may_tell_of_circuits(release: Any, tmp_path: Path) -> None:
    """The Event as the gateway makes it, taken by a real API server with the gateway's rights."""
    applied = succeed(
        release.kubectl("apply", "--namespace", "served", "-o", "json", "-f", "-", stdin=json.dumps(INLINE))
    )
    event = event_of(json.loads(applied), News(True, "writers-1 of 2 instances"), "gateway-0", datetime.now(UTC))
    as_gateway = f"--kubeconfig={kubeconfig_of(release, 'gateway', tmp_path)}"
    succeed(release.kubectl("create", as_gateway, "-f", "-", stdin=json.dumps(event)))
    told = succeed(release.kubectl("events", "--namespace", "served", "--for", f"{names.AGENT}/chat"))
    assert "CircuitOpened" in told
    assert "writers-1 of 2 instances" in told


def assert_nothing_was_forbidden(log: Path) -> None:
    assert not [line for line in log.read_text().splitlines() if "forbidden" in line.lower()]
