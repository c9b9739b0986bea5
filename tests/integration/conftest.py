"""A real API server for all integration tests, with the CRDs on it when a test asks for them.

The programs come from the cluster tool's cache; the first time on a machine they are built, which takes minutes.
"""

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from devcluster import binaries
from devcluster.settings import from_environment

ROOT = Path(__file__).resolve().parents[2]
CRDS = ROOT / "crds"
SERVER_VERSION = pytest.StashKey[str]()


@dataclass(frozen=True, slots=True)
class Kubectl:
    """kubectl against one API server."""

    program: Path
    kubeconfig: Path

    def try_run(self, *arguments: str, stdin: Any = None) -> subprocess.CompletedProcess[str]:
        """Run it to its end, however that is; ``stdin`` is text, or a manifest."""
        text = stdin if stdin is None or isinstance(stdin, str) else json.dumps(stdin)
        # HOME of its own: the discovery cache of the user may know another server at this address.
        environment = {**os.environ, "KUBECONFIG": str(self.kubeconfig), "HOME": str(self.kubeconfig.parent)}
        return subprocess.run(
            [self.program, *arguments], input=text, env=environment, capture_output=True, text=True, check=False
        )

    def run(self, *arguments: str, stdin: Any = None) -> str:
        """What it wrote; fails the test with its error output when it failed."""
        done = self.try_run(*arguments, stdin=stdin)
        if done.returncode != 0:
            pytest.fail(f"kubectl {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The administrator's kubeconfig of an API server that lasts as long as the test run."""
    state = tmp_path_factory.mktemp("control-plane")
    # By its command line: the servers outlive the process that starts them, as no child of the tests does.
    tool = [sys.executable, str(ROOT / "hack" / "cluster"), "control-plane"]
    try:
        started = subprocess.run([*tool, "up", "--state", state], capture_output=True, text=True, check=False)
        if started.returncode != 0:
            pytest.fail(f"no API server: {started.stderr.strip()}")
        yield Path(started.stdout.strip())
    finally:
        subprocess.run([*tool, "down", "--state", state], capture_output=True, check=True)


@pytest.fixture(scope="session")
def kubectl(control_plane: Path, pytestconfig: pytest.Config) -> Kubectl:
    """kubectl of the API server's own version."""
    kubectl = Kubectl(binaries.locate(from_environment(), os.environ).path("kubectl"), control_plane)
    pytestconfig.stash[SERVER_VERSION] = json.loads(kubectl.run("get", "--raw=/version"))["gitVersion"]
    return kubectl


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say what the tests ran on: KUBERNETES_VERSION chooses it."""
    if SERVER_VERSION in config.stash:
        terminalreporter.write_line(f"The API server was Kubernetes {config.stash[SERVER_VERSION]}")


@pytest.fixture(scope="session")
def crds(kubectl: Kubectl, control_plane: Path) -> Path:
    """The API server with AgentNode and Agent; the value is its kubeconfig."""
    kubectl.run("apply", "--server-side", "-f", str(CRDS))
    kubectl.run("wait", "--for=condition=Established", "--timeout=60s", "-f", str(CRDS))
    return control_plane


@pytest.fixture
def namespace(kubectl: Kubectl) -> Iterator[str]:
    """A namespace of the test's own."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    kubectl.run("create", "namespace", name)
    yield name
    kubectl.run("delete", "namespace", name, "--wait=false")
