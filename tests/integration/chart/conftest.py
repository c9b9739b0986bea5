"""helm, and what it renders. The program is the one of `make cluster`, built when it is not there yet."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from devcluster import binaries
from devcluster.settings import from_environment

ROOT = Path(__file__).resolve().parents[3]
CHART = ROOT / "charts" / "switchboard"
RELEASE, NAMESPACE = "mesh", "mesh-system"  # neither is a word of the chart, so a constant in a template shows

Manifest = dict[str, Any]
# Of one command; the longest one is the start of a control plane, which is tried three times
TIMEOUT_S = 600


@dataclass(frozen=True, slots=True)
class Programs:
    helm: Path
    kubectl: Path


class Outcome(NamedTuple):
    status: int
    stdout: str
    stderr: str


@dataclass(frozen=True, slots=True)
class Server:
    """A real API server, and helm and kubectl on it."""

    kubeconfig: Path
    programs: Programs

    def helm(self, *arguments: str, values: Manifest | None = None) -> Outcome:
        return run_helm(self.programs.helm, *arguments, values=values, kubeconfig=self.kubeconfig)

    def kubectl(self, *arguments: str, stdin: str | None = None) -> Outcome:
        return run([str(self.programs.kubectl), f"--kubeconfig={self.kubeconfig}", *arguments], stdin)


def run(command: list[str], stdin: str | None = None, environment: dict[str, str] | None = None) -> Outcome:
    done = subprocess.run(
        command, input=stdin, capture_output=True, text=True, timeout=TIMEOUT_S, env=environment, check=False
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


def run_helm(
    helm: Path, *arguments: str, values: Manifest | None = None, kubeconfig: Path = Path(os.devnull)
) -> Outcome:
    """Run helm without any setting of the machine's user."""
    command = [str(helm), *arguments]
    if values is not None:
        command += ["--values", "-"]
    return run(command, json.dumps(values), {**os.environ, "KUBECONFIG": str(kubeconfig)})


@pytest.fixture(scope="session")
def programs() -> Programs:
    found = binaries.locate(from_environment(), os.environ)
    for recipe in (binaries.CONTROL_PLANE, binaries.HELM):
        binaries.provide(found, recipe)
    return Programs(found.path("helm"), found.path("kubectl"))


@pytest.fixture(scope="session")
def chart() -> str:
    return str(CHART)


@pytest.fixture
def lint(programs: Programs) -> Callable[[], Outcome]:
    return lambda: run_helm(programs.helm, "lint", "--strict", str(CHART))


Template = Callable[..., Outcome]
Render = Callable[..., list[Manifest]]


@pytest.fixture(scope="session")
def template(programs: Programs) -> Template:
    """`helm template` with values, whatever comes of it."""

    def call(**values: Any) -> Outcome:
        command = ("template", RELEASE, str(CHART), "--namespace", NAMESPACE)
        return run_helm(programs.helm, *command, values=values)

    return call


@pytest.fixture(scope="session")
def render(template: Template) -> Render:
    """The objects that come of values."""

    def call(**values: Any) -> list[Manifest]:
        outcome = template(**values)
        assert outcome.status == 0, outcome.stderr
        return [manifest for manifest in yaml.safe_load_all(outcome.stdout) if manifest]

    return call


@pytest.fixture(scope="session")
def server(programs: Programs, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """An API server without nodes, for these tests alone: they install and remove cluster-wide objects."""
    state = str(tmp_path_factory.mktemp("control-plane"))
    tool = [sys.executable, str(ROOT / "hack" / "cluster"), "control-plane"]
    up = run([*tool, "up", "--with-controllers", "--state", state])
    assert up.status == 0, up.stderr
    try:
        yield Server(Path(up.stdout.strip()), programs)
    finally:
        run([*tool, "down", "--state", state])
