"""CPU and memory from files as the kernel writes them, rates from counts."""

from pathlib import Path

import pytest

from switchboard_runtime.usage import Usage, read_usage
from switchboard_sidecar.load import Counts, LoadMeter
from switchboard_wire.v1 import frames_pb2 as pb

PROC = {
    "meminfo": "MemTotal:       1000 kB\nMemFree: 1 kB\nMemAvailable:   250 kB\n",
    "stat": "cpu  100 0 100 600 200 0 0 0 0 0\n",
}
V2 = {
    "memory.current": "262144\n",
    "memory.max": "524288\n",
    "cpu.max": "50000 100000\n",
    "cpu.stat": "usage_usec 2500000\nuser_usec 1\n",
}
V1 = {
    "memory/memory.usage_in_bytes": "262144\n",
    "memory/memory.limit_in_bytes": "524288\n",
    "cpu/cpu.cfs_quota_us": "200000\n",
    "cpu/cpu.cfs_period_us": "100000\n",
    "cpuacct/cpuacct.usage": "3000000000\n",
}


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


@pytest.mark.parametrize(
    ("cgroup", "expected"),
    [
        pytest.param(V2, Usage(cpu_s=2.5, cpus=0.5, memory=0.5), id="cgroup v2"),
        pytest.param(V2 | {"memory.max": "max\n"}, Usage(2.5, 0.5, 262144 / 1024000), id="v2 without a memory limit"),
        pytest.param(V1, Usage(cpu_s=3.0, cpus=2.0, memory=0.5), id="cgroup v1"),
        pytest.param(
            V1 | {"memory/memory.limit_in_bytes": "9223372036854771712\n"},
            Usage(3.0, 2.0, 262144 / 1024000),
            id="v1 without a memory limit",
        ),
    ],
)
def test_what_a_container_uses_of_its_limits(tmp_path: Path, cgroup: dict[str, str], expected: Usage) -> None:
    assert read_usage(write(tmp_path / "cgroup", cgroup), write(tmp_path / "proc", PROC)) == expected


def test_outside_a_container_the_machine_counts(tmp_path: Path) -> None:
    found = read_usage(tmp_path, write(tmp_path / "proc", PROC))
    assert found.memory == 0.75
    assert found.cpu_s > 0


def test_a_machine_that_tells_nothing_is_no_error(tmp_path: Path) -> None:
    assert 0 <= read_usage(tmp_path, tmp_path).memory <= 1


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_rates_follow_the_counts() -> None:
    clock = Clock()
    meter = LoadMeter(clock)
    for second in range(60):
        clock.now = 100.0 + second
        meter.sample(Counts(messages=50 * second, failures=5 * second, seconds=second), Usage(second, 2.0, 0.25))
    load = meter.load(in_flight=3, queued=4)
    assert (load.in_flight, load.queued, load.messages, load.failures) == (3, 4, 2950, 295)
    assert load.messages_per_second == pytest.approx(50, rel=0.01)
    assert load.error_rate == pytest.approx(0.1, rel=0.01)
    assert load.latency_ms == pytest.approx(20, rel=0.01)
    assert (load.cpu, load.memory) == pytest.approx((0.5, 0.25))


def test_an_idle_instance_keeps_its_latency_and_loses_its_rate() -> None:
    clock = Clock()
    meter = LoadMeter(clock)
    for second in range(200):
        clock.now = 100.0 + second
        count = min(second, 100)
        meter.sample(Counts(count, 0, count * 0.02), Usage(0.0, 1.0, 0.0))
    load = meter.load(0, 0)
    assert load.latency_ms == pytest.approx(20, rel=0.01)
    assert load.messages_per_second == pytest.approx(0, abs=0.01)


def test_the_hosts_own_figures_count_while_they_are_fresh() -> None:
    clock = Clock()
    meter = LoadMeter(clock)
    meter.host_said(pb.Load(cpu=0.75, memory=0.5))
    meter.sample(Counts(0, 0, 0), Usage(0, 1, 0.125))
    assert (meter.load(0, 0).cpu, meter.load(0, 0).memory) == (0.75, 0.5)
    clock.now += 60
    meter.sample(Counts(0, 0, 0), Usage(0, 1, 0.125))
    assert (meter.load(0, 0).cpu, meter.load(0, 0).memory) == (0.0, 0.125)
