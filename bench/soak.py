"""Memory and processor time of gateway, sidecar and host: idle, under 1,000 calls per second of 256 bytes, and growth.

Everything is as the chart installs it: TLS from the sidecar to the gateway and to an operator's Registry port.
Every sixth slice is a burst of 128 calls at once, which fills every buffer there is. Growth is the slope of a line
through the samples of the second half, when everything has been allocated that one load needs. Megabytes are 10**6
bytes of resident memory; processor time is in seconds per 1,000 messages, which is the share of a core at 1,000 per s.
"""

import argparse
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.certificates import Tls, make_certificate
from bench.load import Measured, Task
from bench.machine import prepare
from bench.ours import Gateway, whole_path
from bench.paths import Loader, loader
from bench.processes import cpu_s, python, rss_mb
from bench.report import Row, median_of, publish_table

RATE = 1000.0
CONNECTIONS = 4
PAYLOAD = 256
BURST = 128
BURST_EVERY = 6
SLICE_S = 10.0
IDLE_S = 15.0
HOUR_S = 3600.0


@dataclass(frozen=True, slots=True)
class FootprintRow(Row):
    """One process. Memory in MB; idle_cpu: share of a core without any call; cpu_per_1000: seconds per 1,000 calls."""

    idle_mb: float = 0.0
    first_mb: float = 0.0
    last_mb: float = 0.0
    growth_mb_per_h: float = 0.0
    idle_cpu: float = 0.0
    cpu_per_1000: float = 0.0


@dataclass(slots=True)
class Watched:
    """What was seen of one process: samples of (seconds, MB), processor seconds before and after the load."""

    idle_mb: float
    idle_cpu: float
    cpu_before: float
    cpu_after: float = 0.0
    samples: list[tuple[float, float]] = field(default_factory=list)


def slope_per_hour(samples: Sequence[tuple[float, float]]) -> float:
    """Least squares through samples of (seconds, MB), in MB per hour; 0 of fewer than two."""
    if len(samples) < 2:
        return 0.0
    mean_x = sum(x for x, _ in samples) / len(samples)
    mean_y = sum(y for _, y in samples) / len(samples)
    spread = sum((x - mean_x) ** 2 for x, _ in samples)
    return sum((x - mean_x) * (y - mean_y) for x, y in samples) / spread * HOUR_S if spread else 0.0


def watch_idle(pids: Mapping[str, int]) -> dict[str, Watched]:
    """What each process takes when nothing happens but pings."""
    before = {name: cpu_s({name: pid}) for name, pid in pids.items()}
    time.sleep(IDLE_S)
    found = {}
    for name, pid in pids.items():
        used = cpu_s({name: pid})
        found[name] = Watched(rss_mb(pid), (used - before[name]) / IDLE_S, used)
    return found


def soak(load: Loader, pids: Mapping[str, int], seconds: float, watched: dict[str, Watched]) -> tuple[Measured, float]:
    """Load and sample for so long. Returns the steady slices' medians, and how many messages there were."""
    begin, messages, slices = time.monotonic(), 0.0, 0
    steady: list[Measured] = []
    while time.monotonic() - begin < seconds:
        slices += 1
        is_burst = slices % BURST_EVERY == 0
        length = min(SLICE_S, seconds)
        task = Task(BURST, PAYLOAD, length / 5) if is_burst else Task(CONNECTIONS, PAYLOAD, length, RATE)
        measured = load.measure(task)
        messages += measured.per_s * task.seconds * 1.1  # the warm-up is a tenth, and not in per_s
        if not is_burst:
            steady.append(measured)
        for name, pid in pids.items():
            watched[name].samples.append((time.monotonic() - begin, rss_mb(pid)))
        if slices % BURST_EVERY == 1:
            sizes = ", ".join(f"{name} {seen.samples[-1][1]:.1f}" for name, seen in watched.items())
            print(f"{(time.monotonic() - begin) / 60:5.1f} min: {sizes} MB", flush=True)
    for name, pid in pids.items():
        watched[name].cpu_after = cpu_s({name: pid})
    return median_of(steady), messages


def rows_of(watched: Mapping[str, Watched], steady: Measured, messages: float) -> list[FootprintRow]:
    """A row for each process; the latencies are those of the whole path."""
    rows = []
    for name, seen in watched.items():
        used = seen.cpu_after - seen.cpu_before
        sizes = [size for _, size in seen.samples]
        rows.append(
            FootprintRow(
                name,
                CONNECTIONS,
                PAYLOAD,
                steady.per_s,
                steady.p50_ms,
                steady.p90_ms,
                steady.p99_ms,
                used,
                idle_mb=seen.idle_mb,
                first_mb=sizes[0],
                last_mb=sizes[-1],
                growth_mb_per_h=slope_per_hour(seen.samples[len(sizes) // 2 :]),
                idle_cpu=seen.idle_cpu,
                cpu_per_1000=used / messages * 1000,
            )
        )
    return rows


def render_footprint(rows: Sequence[FootprintRow]) -> str:
    """The rows as a table of Markdown."""
    lines = [
        "| process | idle MB | loaded, first MB | last MB | growth MB/h | idle CPU | CPU s per 1,000 messages |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        sizes = f"{row.idle_mb:.1f} | {row.first_mb:.1f} | {row.last_mb:.1f} | {row.growth_mb_per_h:+.1f}"
        lines.append(f"| {row.name} | {sizes} | {row.idle_cpu:.1%} | {row.cpu_per_1000:.3f} |")
    path = rows[0]
    figures = f"p50 {path.p50_ms:.2f} ms, p90 {path.p90_ms:.2f} ms, p99 {path.p99_ms:.2f} ms"
    return "\n".join(lines) + f"\n\nThe path at {path.per_s:,.0f}/s: {figures}."


def words_of(gateway: Gateway) -> list[str]:
    """The command that loads the path."""
    return python("bench.loaders.switchboard", gateway.address, "--connections", str(CONNECTIONS))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=20.0)
    minutes = parser.parse_args().minutes
    with tempfile.TemporaryDirectory() as folder:
        measure(make_certificate(Path(folder)), minutes)


def measure(tls: Tls, minutes: float) -> None:
    """Run it and publish the table."""
    with whole_path(tls) as (gateway, pids), loader(words_of(gateway)):
        pass  # leaves every module compiled
    # The loader's first calls are over when it is there, so idle means: after everything was imported
    with whole_path(tls) as (gateway, pids), loader(words_of(gateway)) as load:
        machine = prepare(halts=True)  # as in production: memory and processor time are what counts here
        watched = watch_idle(pids)
        steady, messages = soak(load, pids, minutes * 60, watched)
    rows = rows_of(watched, steady, messages)
    publish_table("soak", rows, render_footprint(rows), machine)


if __name__ == "__main__":
    main()
