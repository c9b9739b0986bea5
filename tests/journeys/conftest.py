"""A real cluster with the chart on it, and a namespace of each test's own that enforces Pod Security `restricted`.

`make test-journeys` brings up both; alone, `pytest tests/journeys` expects them. When a test fails, its report shows
what the cluster says of the test's namespace and of the release.
"""

import contextlib
import os
import subprocess
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from journey import Journey
from live.gateway import Address, Rest, reach_gateway
from live.kubectl import CommandFailed, Kubectl, find_kubectl
from live.release import NAMESPACE as SYSTEM
from reliability import await_whole, steady_pool
from report import report

from switchboard import SyncClient

__all__ = ["report"]
COMPONENTS = ("switchboard-operator", "switchboard-gateway")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "journeys" in item.path.parts:
            item.add_marker(pytest.mark.journey)


@pytest.fixture(scope="session")
def kubectl() -> Kubectl:
    """kubectl for the cluster of `make cluster`."""
    try:
        found = find_kubectl()
    except CommandFailed as error:
        pytest.exit(str(error), returncode=1)
    return found


@pytest.fixture(scope="session")
def release(kubectl: Kubectl) -> str:
    """The release's namespace, in which operator and gateway are available."""
    for name in COMPONENTS:
        done = kubectl.try_run("rollout", "status", f"deployment/{name}", "-n", SYSTEM, "--timeout=120s")
        if done.returncode != 0:
            pytest.fail(f"the chart is not there: run `make test-journeys` ({done.stderr.strip()})", pytrace=False)
    return SYSTEM


@pytest.fixture(scope="session")
def gateway(kubectl: Kubectl, release: str) -> Iterator[Address]:
    """Where this machine reaches the gateway."""
    with reach_gateway(kubectl) as address:
        yield address


@pytest.fixture(scope="session")
def session_client(gateway: Address) -> Iterator[SyncClient]:
    """One session with the gateway, over gRPC."""
    with SyncClient(gateway.grpc, timeout_s=30) as client:
        yield client


@contextlib.contextmanager
def new_namespace(kubectl: Kubectl) -> Iterator[str]:
    """A namespace whose pods must pass Pod Security `restricted`."""
    name = f"journey-{uuid.uuid4().hex[:8]}"
    labels = {"pod-security.kubernetes.io/enforce": "restricted", "switchboard-journeys": "yes"}
    kubectl.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
    yield name
    kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture
def namespace(kubectl: Kubectl, release: str) -> Iterator[str]:
    """A namespace of the test's own."""
    with new_namespace(kubectl) as name:
        yield name


@pytest.fixture
def journey(kubectl: Kubectl, gateway: Address, session_client: SyncClient, namespace: str) -> Journey:
    """What a user has: kubectl, a namespace, the gateway."""
    return Journey(kubectl, namespace, gateway, session_client, Rest(gateway.http, namespace))


@pytest.fixture(scope="session")
def rate() -> float:
    """Calls a second of a load; `make reliability` asks for 1,000."""
    return float(os.environ.get("RELIABILITY_RATE", "200"))


@pytest.fixture(scope="session")
def steady_journey(kubectl: Kubectl, gateway: Address, session_client: SyncClient, release: str) -> Iterator[Journey]:
    """A namespace with the steady pool, for all tests that put it under load; each leaves it whole."""
    with new_namespace(kubectl) as name:
        journey = Journey(kubectl, name, gateway, session_client, Rest(gateway.http, name))
        journey.apply(*steady_pool(name))
        yield journey


@pytest.fixture(scope="module")
def shared_journey(kubectl: Kubectl, gateway: Address, session_client: SyncClient, release: str) -> Iterator[Journey]:
    """A namespace for all tests of a file."""
    with new_namespace(kubectl) as name:
        yield Journey(kubectl, name, gateway, session_client, Rest(gateway.http, name))


@pytest.fixture
def steady(steady_journey: Journey) -> Journey:
    """The steady pool, whole."""
    await_whole(steady_journey)
    return steady_journey


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Any:
    """Say with a failed journey what the cluster looked like."""
    report = yield
    if report.when != "teardown" and report.failed and isinstance(item, pytest.Function):
        used = next((found for found in item.funcargs.values() if isinstance(found, Journey)), None)
        if used is not None:
            report.sections += list(look_around(used.kubectl, used.namespace))
    return report


def look_around(kubectl: Kubectl, namespace: str) -> Iterator[tuple[str, str]]:
    """Excerpts of the cluster for the report of a failure."""
    everything = "agentnodes,agents.switchboard.dev,deployments,pods,hpa,configmaps"
    commands = {
        "what there is": ("get", everything, "-n", namespace, "-o", "wide"),
        "agents and pools": (
            "get",
            "agentnodes,agents.switchboard.dev",
            "-n",
            namespace,
            "-o",
            "jsonpath={.items[*].status}",
        ),
        "pods": ("describe", "pods", "-n", namespace),
        "events": ("get", "events", "-n", namespace, "--sort-by=.lastTimestamp"),
        "sidecars": (
            "logs",
            "-n",
            namespace,
            "-l",
            "switchboard.dev/agentnode",
            "-c",
            "switchboard-sidecar",
            "--prefix",
            "--tail=15",
        ),
        "hosts": ("logs", "-n", namespace, "-l", "switchboard.dev/agentnode", "-c", "agent", "--prefix", "--tail=15"),
        "operator": ("logs", "-n", SYSTEM, "-l", "app.kubernetes.io/component=operator", "--prefix", "--tail=25"),
        "gateway": ("logs", "-n", SYSTEM, "-l", "app.kubernetes.io/component=gateway", "--prefix", "--tail=15"),
        "the release": ("get", "pods", "-n", SYSTEM, "-o", "wide"),
    }
    for title, words in commands.items():
        try:
            done = kubectl.try_run(*words)
        except subprocess.TimeoutExpired:  # what failed the test may have stopped the API server too
            yield title, "kubectl got no answer"
            continue
        yield title, "\n".join((done.stdout or done.stderr).splitlines()[-60:])
