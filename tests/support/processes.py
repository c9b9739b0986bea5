"""Gateways, sidecars and hosts as processes of this machine, as they run in their containers."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ports import free_port

from switchboard_gateway import settings as gateway
from switchboard_wire import names

# A process starts in a second on an idle machine, and under a load of twenty in half a minute
START_S = 180.0
HOST = "127.0.0.1"


@dataclass(slots=True)
class Program:
    """One process of ours; its output is kept in `log`."""

    process: "subprocess.Popen[bytes]"
    log: Path

    @property
    def is_alive(self) -> bool:
        return self.process.poll() is None

    @property
    def rss_mib(self) -> float:
        """Its memory now."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20

    @property
    def open_files(self) -> int:
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    def kill(self) -> None:
        """As the kernel would."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        if self.is_alive:
            self.process.terminate()
        try:
            self.process.wait(START_S)
        except subprocess.TimeoutExpired:
            self.kill()


@dataclass(slots=True)
class Gateway(Program):
    grpc_port: int
    http_port: int
    links_port: int

    @property
    def address(self) -> str:
        return f"{HOST}:{self.grpc_port}"

    @property
    def links(self) -> str:
        return f"{HOST}:{self.links_port}"

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.http_port}"


@dataclass(slots=True)
class Pod:
    """A sidecar with its host."""

    sidecar: Program
    host: Program
    socket: Path


def start(module: str, environment: dict[str, str], log: Path, *arguments: str) -> "subprocess.Popen[bytes]":
    """Run a module; its output goes to the file."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("SWITCHBOARD_")}
    common = {names.ENV_OPS_PORT: "0", names.ENV_LOG_LEVEL: "INFO", names.ENV_LOG_FORMAT: "text"}
    with log.open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            env=clean | common | environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )


def start_gateway(folder: Path, name: str, links_port: int = 0, **environment: str) -> Gateway:
    """A gateway that takes whatever hosts announce; returns when it listens. environment: by SWITCHBOARD_ name."""
    ports = [free_port(), free_port(), links_port or free_port()]
    told = {
        gateway.ENV_DIRECTORY: "announced",
        gateway.ENV_BIND: HOST,
        gateway.ENV_GRPC_PORT: str(ports[0]),
        gateway.ENV_HTTP_PORT: str(ports[1]),
        gateway.ENV_LINKS_PORT: str(ports[2]),
        gateway.ENV_SESSION_PORT: "0",
        names.ENV_INSTANCE: name,
    }
    log = folder / f"{name}.log"
    started = Gateway(start("switchboard_gateway", told | environment, log), log, *ports)
    for port in ports:
        wait_for_port(port, started)
    return started


def start_host(folder: Path, name: str, gateway_address: str, code: str) -> Program:
    """A host outside a pod, attached to a gateway. code: of its module."""
    home = folder / name
    home.mkdir(exist_ok=True)
    (home / "app.py").write_text(code)
    log = folder / f"{name}.log"
    environment = {names.ENV_CODE: str(home), "SWITCHBOARD_MODULES": "app"}
    return Program(start("switchboard.host", environment, log, "--gateway", gateway_address), log)


def start_pod(folder: Path, name: str, gateways: str, code: str, agents: tuple[str, ...], **more: str) -> Pod:
    """A sidecar and its host, joined as in a pod. more: of the environment of both."""
    home = folder / name
    home.mkdir(exist_ok=True)
    (home / "app.py").write_text(code)
    assigned = [{"name": a, "type": a, "version": "1.0.0", "python": {"entry": f"app:{a}"}} for a in agents]
    document = {"generation": 1, "concurrency": 16, "queueLength": 100, "drainMs": 1000, "agents": assigned}
    (home / "assignments.json").write_text(json.dumps(document))
    environment = {
        names.ENV_SOCKET: str(home / "host.sock"),
        names.ENV_NAMESPACE: "default",
        names.ENV_NODE: "pool",
        names.ENV_INSTANCE: name,
        names.ENV_POD_UID: name,
        names.ENV_GATEWAYS: gateways,
        names.ENV_ASSIGNMENTS: str(home / "assignments.json"),
        names.ENV_CODE: str(home),
        **more,
    }
    logs = [folder / f"{name}-{part}.log" for part in ("sidecar", "host")]
    sidecar = Program(start("switchboard_sidecar", environment, logs[0]), logs[0])
    host = Program(start("switchboard.host", environment, logs[1]), logs[1])
    return Pod(sidecar, host, home / "host.sock")


def wait_for_port(port: int, program: Program) -> None:
    """Wait until somebody listens. Raises AssertionError, with what the program said, when nobody does."""

    def listens() -> bool:
        assert program.is_alive, program.log.read_text()
        with contextlib.suppress(OSError), socket.create_connection((HOST, port), 1):
            return True
        return False

    wait_for(listens, program)


def wait_for(condition: Callable[[], object], program: Program | None = None, within_s: float = START_S) -> None:
    """Wait until it holds. Raises AssertionError with what the program said."""
    ends = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < ends, program.log.read_text()[-4000:] if program is not None else "it never held"
        time.sleep(0.02)


@contextlib.contextmanager
def stopping(programs: list[Program]) -> Iterator[list[Program]]:
    """Whatever is put into the list is stopped in the end."""
    try:
        yield programs
    finally:
        for program in programs:
            if program.is_alive:
                program.process.terminate()
        for program in programs:
            program.stop()
