"""When a drain is complete."""

import subprocess
import sys
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchboard_operator.pod import GRACE_BEYOND_DRAIN_S
from switchboard_sidecar import drain
from switchboard_sidecar.drain import ACCEPT_AT_MOST_S, QUIET_S, DrainClock, Drainer, Phase

ORDER = [Phase.SERVING, Phase.ANNOUNCED, Phase.REFUSING, Phase.DONE]


def begun(budget_s: float = 30.0) -> DrainClock:
    clock = DrainClock()
    clock.begin(100.0, budget_s)
    return clock


def test_without_a_drain_it_serves() -> None:
    assert DrainClock().phase(1e9, busy=5) is Phase.SERVING


def test_calls_on_their_way_are_served_until_it_is_quiet() -> None:
    clock = begun()
    assert clock.phase(100.0 + QUIET_S - 0.01, busy=0) is Phase.ANNOUNCED
    clock.call_came(100.5)
    assert clock.phase(100.5 + QUIET_S - 0.01, busy=0) is Phase.ANNOUNCED
    assert clock.phase(100.5 + QUIET_S, busy=1) is Phase.REFUSING
    assert clock.phase(101.6, busy=0) is Phase.DONE


def test_a_gateway_that_does_not_listen_does_not_hold_it_up() -> None:
    clock = begun()
    now = 100.0
    while now < 100.0 + ACCEPT_AT_MOST_S:
        clock.call_came(now)
        assert clock.phase(now, busy=1) is Phase.ANNOUNCED
        now += 0.1
    clock.call_came(now)
    assert clock.phase(now, busy=1) is Phase.REFUSING


def test_it_ends_when_the_time_is_over_whatever_is_in_flight() -> None:
    clock = begun(budget_s=10.0)
    assert clock.phase(109.9, busy=3) is Phase.REFUSING
    assert clock.phase(110.0, busy=3) is Phase.DONE


def test_beginning_again_changes_nothing() -> None:
    clock = begun(budget_s=10.0)
    clock.begin(109.0, 10.0)
    assert clock.phase(110.0, busy=3) is Phase.DONE


@given(
    st.lists(st.tuples(st.floats(0.01, 2.0), st.integers(0, 3), st.booleans()), max_size=40),
    st.floats(0, 20),
)
def test_it_never_goes_back_and_ends_in_time(steps: list[tuple[float, int, bool]], budget_s: float) -> None:
    clock = DrainClock()
    clock.begin(0.0, budget_s)
    now, last = 0.0, Phase.SERVING
    for delta, busy, call in steps:
        now += delta
        if call:
            clock.call_came(now)
        phase = clock.phase(now, busy)
        assert ORDER.index(phase) >= ORDER.index(last)
        if phase is Phase.DONE and last is not Phase.DONE:
            assert now >= budget_s or busy == 0
        last = phase
    assert clock.phase(now + budget_s, busy=9) is Phase.DONE


async def test_the_wait_of_the_hosts_prestop_returns_at_once_without_a_drain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drain, "BEGIN_WITHIN_S", 0.01)
    assert Drainer(lambda: 0, lambda reason: None, lambda: 0.0).wait() == (200, "no drain")


def test_a_drain_that_begins_late_still_ends_before_kubelet_kills_the_pod() -> None:
    # Both processes end within 5 s after it
    assert drain.BEGIN_WITHIN_S + 5 <= GRACE_BEYOND_DRAIN_S


def test_the_prestop_starts_without_what_it_does_not_need() -> None:
    """A starved node makes every import count."""
    program = "import sys, switchboard_sidecar.__main__; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not {"grpc", "aiohttp", "prometheus_client", "switchboard_sidecar.sidecar"} & set(done.stdout.split())


async def test_everybody_who_asks_joins_one_drain() -> None:
    announced: list[str] = []
    times = iter(range(1000))
    drainer = Drainer(lambda: 0, announced.append, lambda: float(next(times)))
    answers: list[tuple[int, str]] = []
    waiter = threading.Thread(target=lambda: answers.append(drainer.wait()))
    waiter.start()
    assert [await drainer.drain("one", 60), await drainer.drain("two", 60)] == [0, 0]
    waiter.join(20)
    assert (announced, answers) == (["one"], [(200, "drained")])
    assert drainer.gate() == "the instance is draining"
