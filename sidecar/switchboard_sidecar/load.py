"""How busy this instance is: CPU and memory as a share of their limit, messages, errors, latency.

The host's own figures count when it sends them (each container sees only its own cgroup); else this container's.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from switchboard_wire.v1 import frames_pb2 as pb

SAMPLE_S: Final = 1.0
# Weight of the newest second in the rates: about the last five seconds count
_RATE_WEIGHT: Final = 0.2
_UNLIMITED: Final = 1 << 60  # cgroup v1 says "no limit" by a number near 2^63


@dataclass(frozen=True, slots=True)
class Usage:
    """cpu_s: CPU seconds used so far. cpus: how many may be used. memory: share of the limit in use, 0 to 1."""

    cpu_s: float
    cpus: float
    memory: float


def read_usage(cgroup: Path = Path("/sys/fs/cgroup"), proc: Path = Path("/proc")) -> Usage:
    """What the container uses by cgroup v2 or v1; outside a container what the machine uses, by /proc."""
    total = _meminfo(proc, "MemTotal")
    count = float(os.cpu_count() or 1)
    if (cgroup / "memory.current").exists():
        quota, _, period = _text(cgroup / "cpu.max", "max 100000").partition(" ")
        stat = dict(line.split()[:2] for line in _text(cgroup / "cpu.stat", "").splitlines())
        limit = _number(cgroup / "memory.max", total)
        return Usage(
            cpu_s=int(stat.get("usage_usec", 0)) / 1e6,
            cpus=count if quota == "max" else int(quota) / int(period),
            memory=_number(cgroup / "memory.current", 0) / max(min(limit, total), 1),
        )
    if (cgroup / "memory" / "memory.usage_in_bytes").exists():
        quota_us = _number(cgroup / "cpu" / "cpu.cfs_quota_us", -1)
        period_us = _number(cgroup / "cpu" / "cpu.cfs_period_us", 100_000)
        limit = _number(cgroup / "memory" / "memory.limit_in_bytes", _UNLIMITED)
        return Usage(
            cpu_s=_number(cgroup / "cpuacct" / "cpuacct.usage", 0) / 1e9,
            cpus=quota_us / period_us if quota_us > 0 else count,
            memory=_number(cgroup / "memory" / "memory.usage_in_bytes", 0) / max(min(limit, total), 1),
        )
    return _machine(proc, total, count)


def _machine(proc: Path, total: int, count: float) -> Usage:
    fields = [int(field) for field in _text(proc / "stat", "cpu 0").splitlines()[0].split()[1:]]
    idle = sum(fields[3:5])  # idle and iowait, proc_stat(5)
    ticks = os.sysconf("SC_CLK_TCK")
    available = _meminfo(proc, "MemAvailable")
    return Usage(cpu_s=(sum(fields[:8]) - idle) / ticks, cpus=count, memory=1 - available / max(total, 1))


def _meminfo(proc: Path, name: str) -> int:
    for line in _text(proc / "meminfo", "").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    return 0


def _text(path: Path, default: str) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError:
        return default


def _number(path: Path, default: int) -> int:
    text = _text(path, "")
    return int(text) if text.lstrip("-").isdecimal() else default


@dataclass(frozen=True, slots=True)
class Counts:
    """Messages and failures since the start, processing time of the messages in seconds."""

    messages: int
    failures: int
    seconds: float


class LoadMeter:
    """Turns counts and usage into a `Load`. Call `sample` about once a second, `host_said` with each ping's load."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._last: tuple[float, Counts, Usage] | None = None
        self._host: tuple[float, float, float] | None = None  # (when, cpu, memory)
        self._load = pb.Load()

    def host_said(self, load: pb.Load) -> None:
        if load.cpu or load.memory:
            self._host = (self._clock(), load.cpu, load.memory)

    def sample(self, counts: Counts, usage: Usage) -> None:
        """Fold in one more second."""
        now = self._clock()
        last, self._last = self._last, (now, counts, usage)
        load = self._load
        load.messages, load.failures = counts.messages, counts.failures
        load.cpu, load.memory = 0.0, min(usage.memory, 1.0)
        if last is not None and now > last[0]:
            elapsed = now - last[0]
            load.cpu = min(max((usage.cpu_s - last[2].cpu_s) / elapsed / usage.cpus, 0.0), 1.0)
            self._fold(elapsed, counts, last[1])
        if self._host is not None and now - self._host[0] < 5 * SAMPLE_S:
            load.cpu, load.memory = self._host[1:]

    def _fold(self, elapsed: float, counts: Counts, before: Counts) -> None:
        load = self._load
        messages = counts.messages - before.messages
        load.messages_per_second += (messages / elapsed - load.messages_per_second) * _RATE_WEIGHT
        if messages > 0:
            rate = min((counts.failures - before.failures) / messages, 1.0)
            load.error_rate += (rate - load.error_rate) * _RATE_WEIGHT
            latency = (counts.seconds - before.seconds) / messages * 1000
            load.latency_ms += (latency - load.latency_ms) * _RATE_WEIGHT

    def load(self, in_flight: int, queued: int) -> pb.Load:
        """The latest sample with these counts of this moment."""
        load = pb.Load()
        load.CopyFrom(self._load)
        load.in_flight, load.queued = in_flight, queued
        return load
