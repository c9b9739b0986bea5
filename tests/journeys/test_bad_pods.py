"""One instance of four misbehaves while messages flow: the others carry on."""

import contextlib
import itertools
import os
import signal
import time
from collections.abc import Iterator

import pytest
from live.steady import Plan
from live.waiting import NotYet, wait_until
from pod_processes import find_processes
from reliability import OPEN_S, PER_TRY_S, VICTIM, busiest, tell_victim

pytestmark = pytest.mark.reliability
CALM_S = 4
BAD_S = 8
TEN_TIMES = "10"
# The default work takes 5 ms: an hour and more
FOREVER = "1000000"


@pytest.mark.parametrize(("agent", "strategy"), [("work", "LeastConnections"), ("quickest", "ResponseTime")])
def test_a_ten_times_slower_instance_gets_few_calls_and_slows_no_other(steady, rate, report, agent, strategy):
    with steady.steady(Plan(agent, rate, idempotent=True)) as load:
        calm = load.run_for(CALM_S)
        with misbehaving(steady, TEN_TIMES) as victim:
            load.run_for(1)
            slow = load.run_for(BAD_S)

    before, others, all_ = load.figures(*calm), load.figures(*slow, but=victim), load.figures(*slow)
    report.add(
        f"one of 4 pods ten times slower, {strategy}",
        "idempotent",
        all_,
        share_of_slow=all_.share(victim),
        p99_others_before_ms=before.p99_ms,
        p99_others_ms=others.p99_ms,
    )
    assert load.figures().failed == {}
    # A gateway prefers its zone: with one that takes no calls, its instances do not count
    assert all_.share(victim) < 0.9 / len(before.by_instance), "it has nearly an equal share"
    # The median, because the tail of a machine with other work says nothing; it is told in the figures
    assert others.p50_ms < 2 * before.p50_ms + 20


def test_a_hung_handler_is_left_alone_and_comes_back(steady, rate, report):
    with steady.steady(Plan("work", rate, idempotent=True)) as load:
        load.run_for(CALM_S)
        began_s = time.monotonic()
        with misbehaving(steady, FOREVER) as victim:
            load.run_for(BAD_S)
        ended_s = time.monotonic()
        back_s = await_answers_of(load, victim, ended_s)

    tell_ejection(report, "one of 4 pods hangs (handler never answers)", load, began_s, back_s - ended_s)
    assert load.figures().failed == {}
    late = load.figures(began_s + 2 * PER_TRY_S + 1, ended_s)
    assert late.p50_ms < 200, "the others answer"


@pytest.mark.skipif(os.geteuid() != 0, reason="SIGSTOP for processes in pods needs root on the nodes' machine")
def test_a_stopped_host_is_left_alone_and_comes_back(steady, rate, report):
    with steady.steady(Plan("work", rate, idempotent=True)) as load:
        load.run_for(CALM_S)
        name = busiest(load)
        [pod] = [pod for pod in steady.pods("work") if pod["metadata"]["name"] == name]
        with stopped_host(pod):
            began_s = time.monotonic()
            load.run_for(BAD_S)
        ended_s = time.monotonic()
        back_s = await_answers_of(load, name, ended_s)

    tell_ejection(report, "the host of one of 4 pods stopped (SIGSTOP)", load, began_s, back_s - ended_s)
    assert load.figures().failed == {}


def test_a_crash_looping_instance_fails_no_idempotent_call(steady, rate, report):
    with steady.steady(Plan("work", rate, idempotent=True)) as load:
        calm = load.run_for(CALM_S)
        victim = tell_victim(steady, "crash")
        began_s = time.monotonic()
        wait_until(lambda: restarts(steady, victim) >= 2, "the second crash", 120)
        crashing = load.figures(began_s)
        steady.kube("delete", "pod", victim, "--wait=false")

    report.add(
        "one of 4 pods crash-loops",
        "idempotent",
        load.figures(),
        p99_before_ms=load.figures(*calm).p99_ms,
        p99_meanwhile_ms=crashing.p99_ms,
    )
    assert load.figures().failed == {}


@contextlib.contextmanager
def misbehaving(journey, how: str) -> Iterator[str]:
    """One instance is like this while the context is open; its name."""
    victim = tell_victim(journey, how)
    try:
        yield victim
    finally:
        journey.tell(VICTIM, "1", victim)


@contextlib.contextmanager
def stopped_host(pod) -> Iterator[None]:
    """The pod's host does nothing while the context is open."""
    pids = find_processes([pod], "switchboard.host")
    if not pids:
        pytest.skip("the pods' processes are not on this machine")
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def await_answers_of(load, instance: str, since_s: float) -> float:
    """Wait until the instance answers again; when the first of these answers came."""

    def look() -> float:
        found = [o.ended_s for o in load.outcomes() if o.instance == instance and o.ended_s > since_s + 0.2]
        if len(found) < 20:
            raise NotYet(f"{len(found)} answers")
        return min(found)

    return wait_until(look, f"answers of {instance}", 60 + OPEN_S)


def tell_ejection(report, scenario: str, load, began_s: float, back_s: float) -> None:
    """Note the figures; detection: from the beginning of the trouble to the last call but probes that fell for it."""
    hit = sorted(o.sent_s - began_s for o in load.outcomes() if o.sent_s >= began_s and o.latency_s > 0.9 * PER_TRY_S)
    # What comes after a pause is a probe of the half-open circuit
    probes = next((after for before, after in itertools.pairwise(hit) if after - before > 1), float("inf"))
    detected_s = max((time for time in hit if time < probes), default=0.0)
    more = {"detected_s": detected_s, "calls_that_waited": len(hit), "back_after_s": back_s}
    report.add(scenario, "idempotent", load.figures(), **more)


def restarts(journey, name: str) -> int:
    pods = [pod for pod in journey.pods("work") if pod["metadata"]["name"] == name]
    return sum(status["restartCount"] for pod in pods for status in pod["status"].get("containerStatuses", ()))
