"""Start the load client, watch what it has seen so far, and read what became of every call."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from devcluster.settings import PROJECT

from live.outcomes import Figures, Outcome, figures_of, parse_line
from live.waiting import NotYet, wait_until

# After the last call was sent the slowest may take its whole time
END_S = 90.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What is sent. rate: calls a second, of all sessions together; keys: so many different ones, in turn."""

    target: str
    rate: float
    idempotent: bool = False
    sessions: int = 12  # all at one of two gateways: once in 2,000 runs
    timeout_s: float = 30
    strategy: str = ""
    keys: int = 0

    def words(self, address: str, namespace: str) -> list[str]:
        """The command line of the client."""
        options = {
            "address": address,
            "namespace": namespace,
            "target": self.target,
            "rate": self.rate,
            "sessions": self.sessions,
            "timeout": self.timeout_s,
            "strategy": self.strategy,
            "keys": self.keys,
        }
        words = [f"--{name}={value}" for name, value in options.items()]
        return [*words, *(["--idempotent"] if self.idempotent else [])]


@dataclass(slots=True)
class Steady:
    """A load that runs, then what became of it. Known at the end: sent, ended_again (calls that ended twice), and words
    (some messages of errors, with how many calls got them).
    """

    output: TextIO
    sent: int = 0
    ended_again: int = 0
    words: dict[str, int] = field(default_factory=dict)
    _ended: list[Outcome] = field(default_factory=list)
    _rest: str = ""

    def outcomes(self) -> list[Outcome]:
        """All calls that have ended so far."""
        if self.output.closed:  # the load has ended, and all is known
            return self._ended
        *lines, self._rest = (self._rest + self.output.read()).split("\n")
        for line in lines:
            if line.startswith("{"):
                told = json.loads(line)
                self.sent, self.ended_again, self.words = told["sent"], told["ended_again"], told["words"]
            else:
                self._ended.append(parse_line(line))
        return self._ended

    def figures(self, begin_s: float = 0.0, end_s: float = float("inf"), but: str = "") -> Figures:
        """Of the calls sent in this time; without what the instance `but` answered."""
        return figures_of(o for o in self.outcomes() if begin_s <= o.sent_s < end_s and (not but or o.instance != but))

    def run_for(self, seconds: float) -> tuple[float, float]:
        """Let it run for so long: what is measured is time itself. Begin and end on the clock of the outcomes."""
        begin_s = time.monotonic()
        time.sleep(seconds)
        return begin_s, time.monotonic()

    def wait_for(self, more: int, timeout_s: float = 120) -> None:
        """Return when so many more calls than now have been answered. Raises Late."""
        goal = self.figures().answered + more

        def look() -> bool:
            now = self.figures()
            if now.answered < goal:
                raise NotYet(f"{now.answered} answered, failed: {dict(now.failed)}")
            return True

        wait_until(look, f"{more} more answers", timeout_s)


@contextmanager
def steady_load(address: str, namespace: str, plan: Plan) -> Iterator[Steady]:
    """A load while the context is open, begun when the first calls were answered; after it all calls have ended."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(PROJECT / "hack"), str(PROJECT / "hack/cluster")])}
    command = [sys.executable, "-m", "live.load_client", *plan.words(address, namespace)]
    with tempfile.NamedTemporaryFile("w", prefix="load-") as out, Path(out.name).open() as output:
        load = Steady(output)
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=out, env=environment) as process:
            try:
                load.wait_for(20)
                yield load
                assert process.stdin is not None
                process.stdin.close()
                process.wait(END_S)
            finally:
                process.kill()
        load.outcomes()
