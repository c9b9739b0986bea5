"""Operators as processes against a real API server with its controllers; no kubelet, so tests play the pods."""

import asyncio
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest
from ports import free_port

from switchboard_kube import (
    AGENT_NODES,
    AGENTS,
    NAMESPACES,
    ApiError,
    Json,
    Kube,
    NotFound,
    Resource,
    connect,
)
from switchboard_wire import names

ROOT = Path(__file__).resolve().parents[2]
# The controllers of Kubernetes look again at what failed after up to 60 s; a busy machine needs some time more
DEADLINE_S = 180.0
DEFINITIONS = Resource("apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions", False)

T = TypeVar("T")


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The kubeconfig of an API server with controllers and our CRDs."""
    state = tmp_path_factory.mktemp("operator-control-plane")
    tool = [sys.executable, str(ROOT / "hack" / "cluster"), "control-plane"]
    try:
        command = [*tool, "up", "--state", str(state), "--with-controllers"]
        started = subprocess.run(command, capture_output=True, text=True, check=False)
        if started.returncode != 0:
            pytest.fail(f"no API server: {started.stderr.strip()}")
        kubeconfig = Path(started.stdout.strip())
        asyncio.run(install_crds(kubeconfig))
        yield kubeconfig
    finally:
        subprocess.run([*tool, "down", "--state", str(state)], capture_output=True, check=True)


async def install_crds(kubeconfig: Path) -> None:
    """Install both definitions, and wait until they are served."""
    import yaml

    async with connect(kubeconfig=str(kubeconfig)) as kube:
        for file in sorted((ROOT / "crds").glob("*.yaml")):
            await kube.apply(DEFINITIONS, yaml.safe_load(file.read_text()))
        for resource in (AGENT_NODES, AGENTS):

            async def served(resource: Resource = resource) -> bool:
                await kube.list(resource)
                return True

            await eventually(served)


@pytest.fixture
async def kube(server: Path) -> AsyncIterator[Kube]:
    """The administrator's connection."""
    async with connect(kubeconfig=str(server), field_manager="test") as connected:
        yield connected


@pytest.fixture
async def namespace(kube: Kube) -> AsyncIterator[str]:
    """A namespace of the test's own."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    await kube.create(NAMESPACES, {"metadata": {"name": name}})
    yield name
    await kube.delete(NAMESPACES, name)


@dataclass(slots=True)
class OperatorProcess:
    """One replica, watching one namespace and keeping its lease there."""

    kubeconfig: Path
    namespace: str
    logs: Path
    name: str
    env: dict[str, str] = field(default_factory=dict)
    registry_port: int = field(default_factory=free_port)
    ops_port: int = field(default_factory=free_port)
    process: "subprocess.Popen[bytes] | None" = None

    def start(self) -> None:
        environment = {
            **os.environ,
            "KUBECONFIG": str(self.kubeconfig),
            names.ENV_NAMESPACE: self.namespace,
            names.ENV_WATCH_NAMESPACES: self.namespace,
            names.ENV_INSTANCE: self.name,
            names.ENV_OPS_PORT: str(self.ops_port),
            names.ENV_SIDECAR_IMAGE: "sidecar:1",
            names.ENV_HOST_IMAGE: "host:1",
            names.ENV_LOG_FORMAT: "text",
            "SWITCHBOARD_REGISTRY_PORT": str(self.registry_port),
            # A proxy of the environment must never be used for the API server
            "HTTPS_PROXY": "http://127.0.0.1:9",
            **self.env,
        }
        with self.logs.open("ab") as out:
            command = [sys.executable, "-m", "switchboard_operator"]
            self.process = subprocess.Popen(command, env=environment, stdout=out, stderr=out)

    def kill(self) -> None:
        """As a node that loses power."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def stop(self) -> int:
        """As kubelet; returns the exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=DEADLINE_S)

    def wait(self) -> int:
        """The exit code, once it has ended by itself."""
        assert self.process is not None
        return self.process.wait(timeout=DEADLINE_S)

    def log(self) -> str:
        return self.logs.read_text(errors="replace")


StartOperator = Callable[..., OperatorProcess]


@pytest.fixture
def start_operator(server: Path, namespace: str, tmp_path: Path) -> Iterator[StartOperator]:
    """Starts replicas; shows their logs when the test fails."""
    started: list[OperatorProcess] = []

    def start(name: str = "operator-a", **env: str) -> OperatorProcess:
        replica = OperatorProcess(server, namespace, tmp_path / f"{name}.log", name, env)
        replica.start()
        started.append(replica)
        return replica

    yield start
    for replica in started:
        replica.kill()
        print(f"---- {replica.name}\n{replica.log()[-6000:]}")  # noqa: T201 - shown by pytest on failure


async def eventually(read: Callable[[], Awaitable[T]], accept: Callable[[T], bool] = bool, what: str = "") -> T:
    """The first value that is accepted; fails with the last one when the deadline is over."""
    last: Any = None
    try:
        async with asyncio.timeout(DEADLINE_S):
            while True:
                try:
                    last = await read()
                    if accept(last):
                        return last
                except ApiError as error:
                    last = error
                await asyncio.sleep(0.05)
    except TimeoutError:
        pytest.fail(f"{what or 'it'} did not come about; last seen: {last!r}")


async def absent(kube: Kube, resource: Resource, name: str, namespace: str = "") -> bool:
    """Whether the object does not exist."""
    try:
        await kube.get(resource, name, namespace)
    except NotFound:
        return True
    return False


def condition(obj: Json, kind: str) -> Json:
    """The condition of this type; empty when there is none yet."""
    found: Json = next((c for c in (obj.get("status") or {}).get("conditions") or () if c["type"] == kind), {})
    return found


def agent_node(namespace: str, name: str = "writers", **spec: Any) -> Json:
    """An AgentNode as a user writes it."""
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.AGENT_NODE,
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    }


def agent(namespace: str, name: str, **spec: Any) -> Json:
    """An Agent as a user writes it."""
    handler = {"python": {"entry": "app:answer"}}
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.AGENT,
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"handler": handler, **spec},
    }
