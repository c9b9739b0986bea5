"""The machine that a benchmark runs on: what else it does, whether its processors halt, what it is."""

import datetime
import importlib.util
import os
import platform
import signal
import sys
import time
from dataclasses import dataclass
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

BUSY_SHARE = 0.1  # of all processors: enough to move medians
SETTLE_S, LOOK_S = 0.5, 1.0  # processes that have just started come to rest; then a look
# Whoever keeps this file open with a 0 written to it asks for no delay at all: processors that have nothing to do
# poll instead of halting. It is the kernel's own interface (PM QoS); tuned's profile network-latency does the same.
WAKE_LATENCY = Path("/dev/cpu_dma_latency")


@dataclass(frozen=True, slots=True)
class Machine:
    """busy: the share of all processors that other work takes. is_awake: they do not halt while the benchmark runs."""

    busy: float
    is_awake: bool

    def conditions(self) -> str:
        """When and where figures were taken, in one line; and in bold when other work makes them worthless."""
        when = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M")
        kernel = platform.release().partition("-")[0]
        python = f"Python {platform.python_version()} of {sys.base_prefix}"
        path = "compiled" if is_compiled() else "interpreted"
        halting = "kept awake" if self.is_awake else "free to halt"
        line = (
            f"*{when} UTC, {os.cpu_count()} cores, {_processor()}, Linux {kernel}, {python}, our message path {path}; "
            f"processors {halting}, other work took {self.busy:.0%} of them.*"
        )
        if self.busy > BUSY_SHARE:
            return f"**Taken on a loaded machine: of no worth but to show the form.** {line}"
        return line


def is_compiled() -> bool:
    """Whether the processes that we start find the modules of hack/compile.py first: PYTHONPATH tells them, too."""
    found = importlib.util.find_spec("switchboard_wire.peer")
    return found is not None and str(found.origin).endswith(tuple(EXTENSION_SUFFIXES))


def prepare(*, halts: bool = False) -> Machine:
    """Look at what else runs, and say so when it is too much; then keep the processors awake, unless they may halt.

    A halted processor of a virtual machine is woken by its host, which can take longer than what is measured and
    differs from host to host. Staying awake takes the right to open the kernel's interface, and lasts as long as this
    process. From here on SIGTERM ends it as Ctrl-C does, so that it takes along what it has started.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    busy = _look_around()
    if busy > BUSY_SHARE:
        print(f"WARNING: the machine is {busy:.0%} busy; the figures are not worth keeping", flush=True)
    return Machine(busy, not halts and _stay_awake())


def _stay_awake() -> bool:
    try:
        kept_open = os.open(WAKE_LATENCY, os.O_WRONLY | os.O_CLOEXEC)
        os.write(kept_open, (0).to_bytes(4, sys.byteorder))
    except OSError as error:
        print(f"processors may halt between messages, which costs most at few in flight: {error}", flush=True)
        return False
    return True


def _look_around() -> float:
    """The share of all processors that is taken now. Not the load average, which still holds the benchmark before."""
    time.sleep(SETTLE_S)
    before = _ticks()
    time.sleep(LOOK_S)
    busy, total = (now - then for now, then in zip(_ticks(), before, strict=True))
    return busy / total if total else 0.0


def _ticks() -> tuple[int, int]:
    """(not idle, all) since the machine started."""
    fields = [int(word) for word in Path("/proc/stat").read_text().partition("\n")[0].split()[1:9]]
    return sum(fields) - fields[3] - fields[4], sum(fields)


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
