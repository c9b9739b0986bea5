"""Paths that a message can take, each with a process of its own that makes the load; measured in turn."""

import contextlib
import json
import select
import subprocess
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path as File
from typing import Any

from bench.load import Measured, Task
from bench.processes import ROOT, cpu_s, stop

ANSWER_S = 60.0  # beyond the measurement itself: calls that are still under way have to end


class Unavailable(Exception):
    """This baseline cannot be built or run here; the message says why and what would help."""


class PathFailed(Exception):
    """The path broke while it was measured."""


@dataclass(frozen=True, slots=True)
class Path:
    """name: as in the table. pids: the processes between the client and the handler, and the handler's."""

    name: str
    pids: Mapping[str, int]
    measure: Callable[[Task], Measured]


@dataclass(frozen=True, slots=True)
class Sample:
    """One round: its figures and what the path's processes used, the load's own process left out."""

    measured: Measured
    cpu_s: float


class Loader:
    """The other end of bench/loader.py."""

    def __init__(self, running: subprocess.Popen[bytes]) -> None:
        self._running = running

    def measure(self, task: Task) -> Measured:
        """Raises PathFailed."""
        assert self._running.stdin is not None
        try:
            self._running.stdin.write(json.dumps(asdict(task)).encode() + b"\n")
            self._running.stdin.flush()
        except OSError as error:
            raise PathFailed(f"the load has ended: {error}") from error
        return Measured(**self.read(task.seconds * 1.1 + ANSWER_S))

    def read(self, timeout_s: float) -> Any:
        """The next line. Raises PathFailed."""
        output = self._running.stdout
        assert output is not None
        readable, _, _ = select.select([output], [], [], timeout_s)
        line = output.readline() if readable else b""
        if not line:
            state = "ended" if readable else f"was silent for {timeout_s:.0f} s"
            raise PathFailed(f"the load {state}: {' '.join(map(str, self._running.args[:4]))}")  # type: ignore[index]
        return json.loads(line)


@contextlib.contextmanager
def loader(argv: Sequence[str | File]) -> Iterator[Loader]:
    """A process that loads; yields when its first calls were answered. Raises PathFailed."""
    words = [str(word) for word in argv]
    running = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, bufsize=0)
    try:
        found = Loader(running)
        found.read(ANSWER_S)
        yield found
    finally:
        stop(running)
        for pipe in (running.stdin, running.stdout):
            if pipe is not None:
                pipe.close()


def take_turns(paths: Sequence[Path], tasks: Sequence[Task], rounds: int) -> dict[tuple[str, Task], list[Sample]]:
    """Measure every task on every path, round by round, so that the machine's moods meet all alike.

    A path that fails is left out from then on, with a line that says so.
    """
    found: dict[tuple[str, Task], list[Sample]] = defaultdict(list)
    broken: set[str] = set()
    for number in range(rounds):
        print(f"round {number + 1} of {rounds}", flush=True)
        for task in tasks:
            for path in paths:
                if path.name in broken:
                    continue
                before = cpu_s(path.pids)
                try:
                    measured = path.measure(task)
                except PathFailed as error:
                    print(f"left out from here: {path.name}: {error}", flush=True)
                    broken.add(path.name)
                    continue
                found[path.name, task].append(Sample(measured, cpu_s(path.pids) - before))
    return found
