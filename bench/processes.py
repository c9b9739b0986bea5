"""The processes of a benchmark: started, found by their port, measured by their CPU time and memory, stopped."""

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
START_S = 60.0
STOP_S = 15.0
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
# Modules come compiled, as in the images: a process that compiles its own keeps 3 MB more
COMPILED = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(ROOT / "build" / "bench" / "pycache")}


@contextlib.contextmanager
def process(argv: Sequence[str | Path], environment: Mapping[str, str] | None = None) -> Iterator[int]:
    """Run a program beside us; it ends with the context at the latest."""
    running = subprocess.Popen(
        [str(word) for word in argv], env=os.environ | COMPILED | dict(environment or {}), cwd=ROOT
    )
    try:
        yield running.pid
    finally:
        stop(running)


def python(module: str, *words: str) -> list[str]:
    """The command that runs a module in our environment."""
    return [sys.executable, "-m", module, *words]


def stop(running: subprocess.Popen[bytes]) -> None:
    """End a process, by force when asking does not help."""
    running.terminate()
    try:
        running.wait(STOP_S)
    except subprocess.TimeoutExpired:
        running.kill()
        running.wait()


def cpu_s(pids: Mapping[str, int]) -> float:
    """CPU seconds that the processes have used together."""
    return sum(_cpu_s(pid) for pid in pids.values())


def _cpu_s(pid: int) -> float:
    """Of the process and of its children that have ended or run (nginx and its workers)."""
    total = 0.0
    for one in (pid, *_children(pid)):
        try:
            fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
        except OSError:  # ended meanwhile
            continue
        total += (int(fields[11]) + int(fields[12])) / TICKS_PER_S
    return total


def _children(pid: int) -> list[int]:
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def rss_mb(pid: int) -> float:
    """Resident memory of a process, in 10**6 bytes."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def wait_for_port(port: int) -> None:
    """Wait until something listens on the loopback. Raises TimeoutError."""
    end = time.monotonic() + START_S
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if time.monotonic() > end:
            raise TimeoutError(f"nothing listens on port {port}")
        time.sleep(0.05)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port
