"""The message path as separate processes of this machine: gateway, sidecar, host; and a bare gRPC server beside it."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc

from switchboard_gateway import settings as gateway
from switchboard_wire import names

HERE = Path(__file__).resolve().parent
START_S = 60.0
CLIENT_CPU_SHARE = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Running:
    """address: where clients connect. pids: the processes between client and handler."""

    address: str
    pids: dict[str, int]

    def cpu_s(self) -> dict[str, float]:
        """CPU seconds that each process has used."""
        return {name: _cpu_s(pid) for name, pid in self.pids.items()}


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / CLIENT_CPU_SHARE


@contextlib.contextmanager
def switchboard_path(agent_entry: str = "echo:echo", agent: str = "echo") -> Iterator[Running]:
    """gateway, sidecar and host, joined as in a pod; yields when the agent can be reached."""
    grpc_port, links_port, http_port = free_port(), free_port(), free_port()
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        assignment = {"name": agent, "type": agent, "version": "1.0.0", "python": {"entry": agent_entry}}
        document = {"generation": 1, "concurrency": 1024, "queueLength": 4096, "agents": [assignment]}
        Path(folder, "assignments.json").write_text(json.dumps(document))
        common = {
            names.ENV_SOCKET: f"{folder}/host.sock",
            names.ENV_OPS_PORT: "0",
            names.ENV_LOG_LEVEL: "WARNING",
            names.ENV_LOG_FORMAT: "text",
        }
        ports = {
            gateway.ENV_DIRECTORY: "announced",
            gateway.ENV_BIND: "127.0.0.1",
            gateway.ENV_GRPC_PORT: str(grpc_port),
            gateway.ENV_HTTP_PORT: str(http_port),
            gateway.ENV_LINKS_PORT: str(links_port),
        }
        pod = {
            names.ENV_NODE: "bench",
            names.ENV_INSTANCE: "bench-1",
            names.ENV_GATEWAYS: f"127.0.0.1:{links_port}",
            names.ENV_ASSIGNMENTS: f"{folder}/assignments.json",
        }
        start = stack.enter_context
        pids = {
            "gateway": start(_process("switchboard_gateway", common | ports)),
            "sidecar": start(_process("switchboard_sidecar", common | pod)),
            "host": start(_process("switchboard.host", common | {names.ENV_CODE: str(HERE / "agents")})),
        }
        yield Running(f"127.0.0.1:{grpc_port}", pids)


@contextlib.contextmanager
def direct_path() -> Iterator[Running]:
    """A bare grpc.aio echo server: what one unary call costs without anything in between."""
    port = free_port()
    with _process("bench.direct_server", {"BENCH_PORT": str(port)}) as pid:
        yield Running(f"127.0.0.1:{port}", {"server": pid})


@contextlib.contextmanager
def _process(module: str, environment: dict[str, str]) -> Iterator[int]:
    process = subprocess.Popen([sys.executable, "-m", module], env=os.environ | environment, cwd=HERE.parent)
    try:
        yield process.pid
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_for_port(address: str) -> None:
    """Wait until something listens. Raises TimeoutError."""
    end = time.monotonic() + START_S
    with grpc.insecure_channel(address) as channel:
        grpc.channel_ready_future(channel).result(timeout=max(0.1, end - time.monotonic()))


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port
