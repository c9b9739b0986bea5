"""Start, find and stop the long-running programs of a cluster.

Each program carries the cluster's state folder and its own name in its environment, and so do its children.
There are no files with process numbers which a crash could leave behind or a reboot make false: what runs is
read from /proc alone.
"""

import os
import signal
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from devcluster.commands import last_lines
from devcluster.faults import ClusterError, DeadlinePassed
from devcluster.waiting import wait_until

MARK = "SWITCHBOARD_CLUSTER_PART"
STATE, THREADS, MEMORY, CODE, ENVIRONMENT_START, ENVIRONMENT_END = 3, 20, 23, 26, 50, 51  # proc_pid_stat(5)
EXEC_TIMEOUT_S = 5  # microseconds as a rule; a slow disk or a frozen process may stretch it
KILL_TIMEOUT_S = 60  # a killed program still needs a processor in order to end, and on a busy machine waits for it


@dataclass(frozen=True, slots=True)
class Program:
    """A program to keep running: its name in the cluster, its words, the network namespace it lives in."""

    name: str
    argv: tuple[str, ...]
    netns: str | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """A living process of a cluster. `is_main` is false for what the program started itself."""

    pid: int
    name: str
    is_main: bool


def start(state: Path, program: Program) -> None:
    """Start the program detached from this one, its output appended to `state/log/NAME.log`."""
    log = log_path(state, program.name)
    log.parent.mkdir(parents=True, exist_ok=True)
    # nsenter, not `ip netns exec`: that mounts /sys anew and hides the control groups from the program.
    enter = ("nsenter", f"--net=/run/netns/{program.netns}", "--") if program.netns else ()
    argv = ("env", f"--chdir={state}", *enter, *program.argv)
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    # Not subprocess: its objects want to be waited for, and these programs outlive this one.
    os.posix_spawnp(
        argv[0],
        argv,
        {**os.environ, MARK: mark_of(state, program.name)},
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log), flags, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
    )


def ensure(state: Path, programs: Iterable[Program]) -> None:
    """Start those of the programs which do not run."""
    alive = {found.name for found in find(state) if found.is_main}
    for program in programs:
        if program.name not in alive:
            start(state, program)


def find(state: Path) -> list[Found]:
    """Return the living processes of the cluster whose state folder this is."""
    prefix = f"{MARK}={mark_of(state, '')}".encode()
    return [found for pid in living_pids() if (found := read_mark(pid, prefix)) is not None]


def read_mark(pid: int, prefix: bytes) -> Found | None:
    """Tell which part of the cluster the process is; None when it is none or has just ended."""
    try:
        entries = read_environment(pid).split(b"\0")
        name = next((entry[len(prefix) :] for entry in entries if entry.startswith(prefix)), None)
        # A main process leads the session that it was started in; its children belong to that session.
        return None if name is None else Found(pid, name.decode(), os.getsid(pid) == pid)
    except OSError:
        return None


def read_environment(pid: int) -> bytes:
    """Return the environment that the process was started with; raise OSError when it has just ended.

    A process which is replacing its program, as `env` and `nsenter` do, has no environment for a moment: that
    moment is waited for. Threads of the kernel never have one, and some programs are given none.
    """
    path = Path(f"/proc/{pid}/environ")
    last_look = time.monotonic() + EXEC_TIMEOUT_S
    while not (environment := path.read_bytes()) and may_have_environment(pid) and time.monotonic() < last_look:
        time.sleep(0.001)
    return environment


def may_have_environment(pid: int) -> bool:
    """Tell whether a process that showed no environment has one by now or is about to get one."""
    fields = stat_fields(pid)
    memory, code, start, end = (int(fields[field]) for field in (MEMORY, CODE, ENVIRONMENT_START, ENVIRONMENT_END))
    # The kernel fills in the place of the code last, so before that an empty environment says nothing.
    is_settled_without = code > 0 and start == end
    return memory > 0 and not is_settled_without


def stat_fields(pid: int) -> dict[int, str]:
    """Return the state of the process by the numbers of proc_pid_stat(5), from the third on."""
    # The second, the name in parentheses, may hold spaces and parentheses of its own.
    fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    return dict(enumerate(fields, start=3))


def living_pids() -> list[int]:
    """Return all processes which have not ended; orphans may stay as zombies for seconds and count as ended."""
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit() and is_alive(int(entry.name))]


def is_alive(pid: int) -> bool:
    """Tell whether the process, or a thread of it, still runs and may hold its ports and files."""
    try:
        fields = stat_fields(pid)
    except OSError:
        return False
    # Threads end one by one: the first one may be a zombie while the others still hold what all of them share.
    return fields[STATE] not in ("Z", "X") or int(fields[THREADS]) > 1


def stop(state: Path, names: Iterable[str] | None = None, grace_s: float = 10) -> None:
    """End the programs of these names (all when None) with their children: politely, then by force."""
    wanted = None if names is None else set(names)
    chosen = [found for found in find(state) if wanted is None or found.name in wanted]
    end([found.pid for found in chosen if found.is_main], grace_s)
    end([found.pid for found in chosen if not found.is_main], 0)


def end(pids: Iterable[int], grace_s: float) -> None:
    """End the processes, all at once: SIGTERM, and SIGKILL for whoever is left after the grace, if there is any."""
    chosen = list(pids)
    if grace_s > 0:
        with suppress(DeadlinePassed):  # force is next
            signal_and_wait(chosen, signal.SIGTERM, grace_s)
    signal_and_wait(chosen, signal.SIGKILL, KILL_TIMEOUT_S)


def signal_and_wait(pids: list[int], number: signal.Signals, timeout_s: float) -> None:
    """Send the signal to those of the processes that live; return when none does, else raise DeadlinePassed."""
    for pid in pids:
        if is_alive(pid):
            signal_process(pid, number)
    wait_until(lambda: not any(is_alive(pid) for pid in pids), "processes to end", timeout_s)
    for pid in pids:
        with suppress(ChildProcessError):  # nearly all are no children of this process
            os.waitpid(pid, os.WNOHANG)


def signal_process(pid: int, number: signal.Signals) -> None:
    """Send the signal to the process if it still exists."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def require_running(state: Path, names: Iterable[str]) -> None:
    """Raise ClusterError, with the end of its log, for the first of the programs which does not run."""
    alive = {found.name for found in find(state) if found.is_main}
    for name in names:
        if name not in alive:
            log = log_path(state, name)
            said = last_lines(log.read_text(errors="replace")[-4000:]) if log.exists() else "it never started"
            raise ClusterError(f"{name} has ended; see {log}: {said[-300:]}")


def log_path(state: Path, name: str) -> Path:
    """Return the file that the program of this name writes to."""
    return state / "log" / f"{name}.log"


def mark_of(state: Path, name: str) -> str:
    """Return the environment entry that marks the program."""
    return f"{state}:{name}"
