"""Switchboard's own path: gateway, sidecar and host as processes of this machine, joined as in a pod."""

import contextlib
import json
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path as File

from bench.certificates import Tls
from bench.paths import Path, loader
from bench.processes import HERE, free_port, process, python, wait_for_port
from switchboard_gateway import settings as gateway
from switchboard_wire import names

SWITCHBOARD, SWITCHBOARD_TLS, DIRECT = "switchboard", "switchboard, TLS", "bare gRPC"
AGENTS = ("echo:echo", "echo:pieces")


@dataclass(frozen=True, slots=True)
class Gateway:
    """A running gateway: where clients and sidecars connect."""

    pid: int
    address: str
    http_port: int
    links_port: int


@dataclass(frozen=True, slots=True)
class Instance:
    """A running pod: the processes of its sidecar and its host."""

    sidecar: int
    host: int


@dataclass(frozen=True, slots=True)
class Pod:
    """What an instance hosts: entries `module:agent` of bench/agents."""

    name: str = "bench-1"
    agents: tuple[str, ...] = AGENTS
    concurrency: int = 1024
    environment: Mapping[str, str] = field(default_factory=dict)
    sidecar_environment: Mapping[str, str] = field(default_factory=dict)


COMMON = {names.ENV_OPS_PORT: "0", names.ENV_LOG_LEVEL: "WARNING", names.ENV_LOG_FORMAT: "text"}


@contextlib.contextmanager
def run_gateway(environment: Mapping[str, str] | None = None) -> Iterator[Gateway]:
    """A gateway that serves what its sidecars announce."""
    grpc_port, links_port, http_port = free_port(), free_port(), free_port()
    ports = {
        gateway.ENV_DIRECTORY: "announced",
        gateway.ENV_BIND: "127.0.0.1",
        gateway.ENV_GRPC_PORT: str(grpc_port),
        gateway.ENV_HTTP_PORT: str(http_port),
        gateway.ENV_LINKS_PORT: str(links_port),
        "SWITCHBOARD_SESSION_PORT": "0",
    }
    with process(python("switchboard_gateway"), COMMON | ports | dict(environment or {})) as pid:
        wait_for_port(grpc_port)
        yield Gateway(pid, f"127.0.0.1:{grpc_port}", http_port, links_port)


@contextlib.contextmanager
def run_instance(links_port: int, pod: Pod) -> Iterator[Instance]:
    """A sidecar and a host, as in a pod. It may take a moment until the gateway can reach them."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        agents = [
            {"name": entry.partition(":")[2], "type": entry.partition(":")[2], "version": "1.0.0"}
            | {"python": {"entry": entry}}
            for entry in pod.agents
        ]
        document = {"generation": 1, "concurrency": pod.concurrency, "queueLength": 4096, "agents": agents}
        File(folder, names.ASSIGNMENTS_FILE).write_text(json.dumps(document))
        shared = COMMON | {names.ENV_SOCKET: f"{folder}/host.sock"} | dict(pod.environment)
        sidecar = shared | {
            names.ENV_NODE: "bench",
            names.ENV_INSTANCE: pod.name,
            names.ENV_GATEWAYS: f"127.0.0.1:{links_port}",
            names.ENV_ASSIGNMENTS: f"{folder}/{names.ASSIGNMENTS_FILE}",
        }
        sidecar |= dict(pod.sidecar_environment)
        host = shared | {names.ENV_CODE: str(HERE / "agents")}
        start = stack.enter_context
        yield Instance(
            start(process(python("switchboard_sidecar"), sidecar)), start(process(python("switchboard.host"), host))
        )


@contextlib.contextmanager
def run_registry(tls: Tls) -> Iterator[str]:
    """An operator's Registry port, with TLS; yields its address."""
    port = free_port()
    with process(python("bench.loaders.registry", str(port), str(tls.folder))):
        wait_for_port(port)
        yield f"127.0.0.1:{port}"


@contextlib.contextmanager
def whole_path(tls: Tls) -> Iterator[tuple[Gateway, dict[str, int]]]:
    """A gateway and one instance as the chart installs them, an operator beside them; with the processes by name.

    So the sidecar has TLS on its link and on its stream to the operator.
    """
    with run_registry(tls) as registry, run_gateway(tls.gateway()) as running:
        environment = tls.sidecar() | {names.ENV_REGISTRIES: registry, names.ENV_POD_UID: "uid-1"}
        with run_instance(running.links_port, Pod(sidecar_environment=environment)) as instance:
            yield running, {"gateway": running.pid, "sidecar": instance.sidecar, "host": instance.host}


@contextlib.contextmanager
def switchboard_path(connections: int = 1, stream: bool = False, tls: Tls | None = None) -> Iterator[Path]:
    """SDK → gateway → sidecar → host, as four processes. tls: between gateway and sidecar."""
    ends = (tls.gateway(), tls.sidecar()) if tls else ({}, {})
    with (
        run_gateway(ends[0]) as running,
        run_instance(running.links_port, Pod(sidecar_environment=ends[1])) as instance,
    ):
        pids = {"gateway": running.pid, "sidecar": instance.sidecar, "host": instance.host}
        words = [running.address, "--connections", str(connections), *(["--stream"] if stream else [])]
        with loader(python("bench.loaders.switchboard", *words)) as load:
            yield Path(SWITCHBOARD_TLS if tls else SWITCHBOARD, pids, load.measure)


@contextlib.contextmanager
def direct_path(connections: int = 1, stream: bool = False) -> Iterator[Path]:
    """Bare grpc.aio from client to server: what a call costs without anything in between."""
    port = free_port()
    with process(python("bench.loaders.direct_server", str(port))) as pid:
        wait_for_port(port)
        words = [f"127.0.0.1:{port}", "--connections", str(connections), *(["--stream"] if stream else [])]
        with loader(python("bench.loaders.direct", *words)) as load:
            yield Path(DIRECT, {"server": pid}, load.measure)
