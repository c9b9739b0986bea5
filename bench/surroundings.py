"""What the control plane's benchmark runs in: API server and controllers, kwok, an operator, fake sidecars."""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from devcluster import binaries, rootless
from devcluster.settings import from_environment
from prometheus_client.parser import text_string_to_metric_families

from bench.processes import free_port
from switchboard_wire import names

ROOT: Final = Path(__file__).resolve().parent.parent
TICKS: Final = os.sysconf("SC_CLK_TCK")
# As many as have something to do on a small machine; each sends 50 requests a second by itself
KUBECTLS: Final = 4
START_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Usage:
    """Of a process since its start: CPU seconds, resident memory now and at most in MiB."""

    cpu_s: float
    rss_mib: float
    peak_mib: float


def usage_of(pid: int) -> Usage:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    rss, peak = (int(status[key].split()[0]) / 1024 for key in ("VmRSS", "VmHWM"))
    return Usage((int(fields[11]) + int(fields[12])) / TICKS, rss, peak)


@dataclass(frozen=True, slots=True)
class Plane:
    """The API server, and the folder for files and logs."""

    kubeconfig: Path
    folder: Path

    def cpu_s(self) -> float:
        """Processor seconds of the programs that run in the folder: API server, etcd, controllers, kwok."""
        total, folder = 0.0, str(self.folder / "plane").encode()
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                words = (process / "cmdline").read_bytes()
                if folder in words and not words.startswith(sys.executable.encode()):
                    total += usage_of(int(process.name)).cpu_s
        return total

    def environment(self, **more: str) -> dict[str, str]:
        return {**os.environ, "KUBECONFIG": str(self.kubeconfig), "HTTPS_PROXY": "", **more}

    async def kubectl(self, *words: str) -> None:
        """Run it to its end; fails with its words."""
        program = binaries.locate(from_environment(), os.environ).path("kubectl")
        home = {"HOME": str(self.folder)}
        process = await asyncio.create_subprocess_exec(
            program, *words, env=self.environment(**home), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        _, told = await process.communicate()
        if process.returncode:
            raise RuntimeError(f"kubectl {words[0]}: {told.decode()[-500:]}")

    async def apply(self, files: Sequence[Path]) -> None:
        """`kubectl apply --server-side` of each file, all at once."""
        async with asyncio.TaskGroup() as group:
            for file in files:
                group.create_task(self.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(file)))

    @contextlib.contextmanager
    def process(
        self, name: str, command: Sequence[str], environment: Mapping[str, str], out: int | None = None
    ) -> Iterator["subprocess.Popen[bytes]"]:
        """A program as long as the context is open; its log is in the folder."""
        with (self.folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                command,
                env=self.environment(**environment),
                cwd=ROOT,
                stdout=out if out is not None else log,
                stderr=log,
            )
            try:
                yield process
            finally:
                process.terminate()
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


@contextlib.contextmanager
def control_plane(folder: Path) -> Iterator[Plane]:
    """etcd, API server and controller manager, with kwok in the place of every kubelet."""
    places = from_environment()
    found = binaries.locate_kwok(places)
    binaries.provide(found, binaries.KWOK)
    with rootless.running(folder / "plane", with_controllers=True) as kubeconfig:
        plane = Plane(kubeconfig, folder)
        # Without leases the nodes would be taken for dead after 40 s
        flags = ("--manage-all-nodes", "--node-lease-duration-seconds=40", "--cidr=10.64.0.0/12")
        stages = f"--config={ROOT / 'bench' / 'kwok_stages.yaml'}"
        command = (str(found.path("kwok")), f"--kubeconfig={kubeconfig}", stages, *flags)
        with plane.process("kwok", command, {"HOME": str(folder)}):
            yield plane


@dataclass(frozen=True, slots=True)
class Operator:
    """A replica as a process."""

    pid: int
    registry: str
    ops_port: int

    def usage(self) -> Usage:
        return usage_of(self.pid)

    def counters(self) -> dict[tuple[str, ...], float]:
        """Its counters: (name, label values…) → value."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.ops_port}/metrics", timeout=30) as answer:
            text = answer.read().decode()
        return {
            (sample.name, *(sample.labels[key] for key in sorted(sample.labels))): sample.value
            for family in text_string_to_metric_families(text)
            if family.name.startswith("switchboard_operator_")
            for sample in family.samples
        }

    async def leads(self) -> None:
        """Wait until it writes."""
        async with asyncio.timeout(START_S):
            while True:
                with contextlib.suppress(OSError):
                    if self.counters().get(("switchboard_operator_leader",)):
                        return
                await asyncio.sleep(0.2)


@contextlib.asynccontextmanager
async def operator(plane: Plane, namespace: str) -> AsyncIterator[Operator]:
    """One operator for one namespace, which leads."""
    registry, ops = free_port(), free_port()
    environment = {
        names.ENV_NAMESPACE: namespace,
        names.ENV_WATCH_NAMESPACES: namespace,
        names.ENV_INSTANCE: "bench",
        names.ENV_OPS_PORT: str(ops),
        names.ENV_LOG_LEVEL: "WARNING",
        names.ENV_LOG_FORMAT: "text",
        "SWITCHBOARD_REGISTRY_PORT": str(registry),
        names.ENV_TLS: "",  # the fake sidecars are one process, whose handshakes would be what is measured
        names.ENV_CHECK_TOKENS: "",
    }
    with plane.process("operator", (sys.executable, "-m", "switchboard_operator"), environment) as process:
        started = Operator(process.pid, f"127.0.0.1:{registry}", ops)
        await started.leads()
        yield started


@dataclass(slots=True)
class Spoken:
    """What the fake sidecars last said of themselves."""

    pid: int
    instances: int = 0
    agents: int = 0
    beats: int = 0

    def cpu_s(self) -> float:
        return usage_of(self.pid).cpu_s


@contextlib.asynccontextmanager
async def fake_sidecars(plane: Plane, namespace: str, address: str, all_but: str) -> AsyncIterator[Spoken]:
    """Sidecars for every pod that is ready, but for one pool's."""
    command = (sys.executable, "-m", "bench.fake_sidecars", namespace, address, "--all-but", all_but)

    def listen(stream: IO[bytes], spoken: Spoken) -> None:
        for line in stream:
            said: dict[str, Any] = json.loads(line)
            spoken.instances, spoken.agents, spoken.beats = said["instances"], said["agents"], said["beats"]

    with plane.process("sidecars", command, {}, subprocess.PIPE) as process:
        assert process.stdout is not None
        spoken = Spoken(process.pid)
        hearing = asyncio.create_task(asyncio.to_thread(listen, process.stdout, spoken))
        yield spoken
        process.terminate()
        await hearing
