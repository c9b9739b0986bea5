"""Parts are killed while messages flow: idempotent calls are all answered, others get one explicit error."""

import os
import signal
import time

import pytest
from pod_processes import find_processes
from reliability import await_release, await_whole, both_loads, busiest, busiest_gateway

pytestmark = [
    pytest.mark.reliability,
    pytest.mark.skipif(os.geteuid() != 0, reason="SIGKILL for processes in pods needs root on the nodes' machine"),
]
CALM_S = 3
# Long enough for a killed container to be started again and to take calls
AFTER_S = 6
# What a broken stream means, and nothing else
HONEST = {"NODE_UNAVAILABLE delivered=MAYBE"}


def kill_part(pod, command: str) -> float:
    """SIGKILL for some processes of the pod; when. Skips where they are elsewhere."""
    pids = find_processes([pod], command)
    if not pids:
        pytest.skip("the pods' processes are not on this machine")
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    return time.monotonic()


def test_a_killed_gateway_loses_no_idempotent_call(steady, rate, report):
    with both_loads(steady, rate) as pair:
        calm = pair.safe.run_for(CALM_S)
        killed_s = kill_part(busiest_gateway(steady), "switchboard_gateway")
        pair.safe.run_for(AFTER_S)
    await_release(steady)

    tell(report, "gateway replica killed (SIGKILL)", pair, calm, killed_s)
    assert pair.safe.figures().failed == {}
    assert set(pair.once.figures().failed) <= HONEST


def test_a_sidecar_killed_alone_loses_no_idempotent_call(steady, rate, report):
    with both_loads(steady, rate) as pair:
        calm = pair.safe.run_for(CALM_S)
        killed_s = kill_part(busiest_pod(steady, pair), "switchboard_sidecar")
        pair.safe.run_for(AFTER_S)
        await_whole(steady)

    tell(report, "sidecar killed alone (SIGKILL)", pair, calm, killed_s)
    assert pair.safe.figures().failed == {}
    assert set(pair.once.figures().failed) <= HONEST


def test_a_host_killed_alone_loses_no_idempotent_call(steady, rate, report):
    with both_loads(steady, rate) as pair:
        calm = pair.safe.run_for(CALM_S)
        killed_s = kill_part(busiest_pod(steady, pair), "switchboard.host")
        pair.safe.run_for(AFTER_S)

    tell(report, "host killed alone (SIGKILL)", pair, calm, killed_s)
    assert pair.safe.figures().failed == {}
    assert set(pair.once.figures().failed) <= HONEST


def busiest_pod(journey, pair):
    name = busiest(pair.safe)
    return next(pod for pod in journey.pods("work") if pod["metadata"]["name"] == name)


def tell(report, scenario: str, pair, calm, killed_s: float) -> None:
    """Note the figures; p99 in the time before, and of the calls sent around the kill."""
    around = pair.safe.figures(killed_s - 0.5, killed_s + 2.5)
    before = pair.safe.figures(*calm)
    report.add_pair(scenario, pair, p99_before_ms=before.p99_ms, p99_meanwhile_ms=around.p99_ms)
