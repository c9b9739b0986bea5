"""CPU and memory that this container uses, as a share of its limit; outside a container the machine's."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_UNLIMITED: Final = 1 << 60  # cgroup v1 says "no limit" by a number near 2^63


@dataclass(frozen=True, slots=True)
class Usage:
    """cpu_s: CPU seconds used so far. cpus: how many may be used. memory: share of the limit in use, 0 to 1."""

    cpu_s: float
    cpus: float
    memory: float


def cpu_share(before: Usage, now: Usage, elapsed_s: float) -> float:
    """Share of the CPUs allowed that was used between two readings, 0 to 1."""
    return min(max((now.cpu_s - before.cpu_s) / elapsed_s / now.cpus, 0.0), 1.0)


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
