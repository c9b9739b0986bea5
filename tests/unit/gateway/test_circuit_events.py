"""News of circuits: few, true, and about the Agent."""

import asyncio
import itertools
from datetime import UTC, datetime
from typing import Any

import pytest
from gateway_memory import make_core
from hypothesis import given
from hypothesis import strategies as st

from switchboard_gateway import circuit_events
from switchboard_gateway.circuit_events import CircuitEvents, event_of
from switchboard_gateway.circuit_news import GATHER_S, MAX_A_MINUTE, PAUSE_S, CircuitNews, News
from switchboard_gateway.instances import Instance
from switchboard_kube import EVENTS
from switchboard_kube.testing import FakeKube
from switchboard_routing.breaker import Outcome
from switchboard_routing.policy import BreakerPolicy
from switchboard_wire.peer import Peer
from switchboard_wire.v1 import frames_pb2 as pb

ECHO = ("default", "echo")
NONE = frozenset[str]()


def tell(news: CircuitNews, open_: set[str], now: float) -> News | None:
    return news.tell(ECHO, frozenset(open_), 4, 30.0, now)


def test_what_changes_in_one_moment_is_one_piece_of_news() -> None:
    news = CircuitNews()
    for now in (100.0, 100.1, 101.9):
        news.changed(ECHO, now)
        assert news.due(now) == []
    assert news.due(100.0 + GATHER_S) == [ECHO]
    told = tell(news, {"i1", "i0"}, 102.0)
    assert told == News(True, "i0, i1 of 4 instances keep failing and are left alone, next attempt in 30 s")
    assert news.due(1000.0) == []


def test_the_next_news_of_an_agent_comes_a_minute_later_and_says_what_changed() -> None:
    news = CircuitNews()
    news.changed(ECHO, 0.0)
    tell(news, {"i0", "i1"}, 2.0)
    news.changed(ECHO, 3.0)
    assert news.due(2.0 + PAUSE_S - 0.1) == []
    assert news.due(2.0 + PAUSE_S) == [ECHO]
    told = tell(news, {"i1"}, 62.0)
    assert told == News(False, "i1 of 4 instances keep failing and are left alone, next attempt in 30 s; no longer: i0")
    news.changed(ECHO, 63.0)
    told = tell(news, set(), 123.0)
    assert told == News(False, "No circuit is open any more: i1 answered, were replaced or were reset")


def test_what_opened_and_closed_meanwhile_is_no_news() -> None:
    news = CircuitNews()
    news.changed(ECHO, 0.0)
    assert tell(news, set(), 2.0) is None


def test_many_names_are_shortened() -> None:
    news = CircuitNews()
    told = tell(news, {f"i{number}" for number in range(9)}, 0.0)
    assert told is not None
    assert told.note.startswith("i0, i1, i2, i3, i4 and 4 more of 4 instances")


@given(st.lists(st.tuples(st.integers(0, 60), st.floats(0, 5), st.sets(st.sampled_from("abc"))), max_size=200))
def test_whatever_flaps_the_api_server_is_spared_and_the_last_word_is_true(
    steps: list[tuple[int, float, set[str]]],
) -> None:
    news, now = CircuitNews(), 0.0
    is_open: dict[tuple[str, str], frozenset[str]] = {}
    told: dict[tuple[str, str], frozenset[str]] = {}
    times: list[tuple[float, tuple[str, str]]] = []

    def look() -> None:
        for agent in news.due(now):
            if news.tell(agent, is_open[agent], 3, 1.0, now) is not None:
                times.append((now, agent))
                told[agent] = is_open[agent]

    for number, pause, open_ in steps:
        now += pause
        agent = ("default", f"agent-{number}")
        is_open[agent] = frozenset(open_)
        news.changed(agent, now)
        look()
    for _ in range(200):
        now += 5
        look()
    for start, _ in times:
        assert sum(start <= when < start + 60 for when, _ in times) <= MAX_A_MINUTE
    for agent, open_now in is_open.items():
        assert told.get(agent, NONE) == open_now
        own = [when for when, whose in times if whose == agent]
        assert all(later - earlier >= PAUSE_S for earlier, later in itertools.pairwise(own))


def manifest() -> dict[str, Any]:
    return {"metadata": {"namespace": "default", "name": "echo", "uid": "u-1"}}


def test_an_event_is_about_the_agent() -> None:
    found = event_of(manifest(), News(True, "x" * 2000), "gateway-0", datetime(2026, 1, 2, tzinfo=UTC))
    assert found["regarding"] == {
        "apiVersion": "switchboard.dev/v1alpha1",
        "kind": "Agent",
        "name": "echo",
        "namespace": "default",
        "uid": "u-1",
    }
    assert (found["reason"], found["type"], len(found["note"])) == ("CircuitOpened", "Warning", 1024)
    assert found["eventTime"] == "2026-01-02T00:00:00.000000Z"
    assert event_of(manifest(), News(False, ""), "", datetime.now(UTC))["reason"] == "CircuitClosed"


class Silent:
    def on_open(self, peer: Peer, frame: pb.Frame) -> None: ...

    def on_control(self, peer: Peer, frame: pb.Frame) -> None: ...

    def on_lost(self, peer: Peer) -> None: ...


async def test_a_circuit_that_opens_and_is_reset_is_told_in_two_events(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(circuit_events, "LOOK_S", 0.001)
    core, kube, now = make_core(breaker=BreakerPolicy(consecutive_failures=1)), FakeKube(), 100.0
    core.now = lambda: now
    hosted = frozenset({"echo"})
    for name in ("i0", "i1", "i2"):
        core.add_instance(Instance(Peer(Silent(), dialled=False), "default", "pool", name, hosted=hosted))
    events = CircuitEvents(kube, core, lambda *_: manifest(), "gateway-0")
    running = asyncio.ensure_future(events.run())
    route = core.table.routes[ECHO]
    route.record(route.instances[0], Outcome.FAILURE, None, 0.0, now)
    now += GATHER_S
    await until_posted(kube, 1)
    assert core.reset_circuits("default", "echo")
    now += PAUSE_S
    await until_posted(kube, 2)
    running.cancel()
    posted = sorted(
        (item for (kind, _, _), item in kube.objects.items() if kind == EVENTS),
        key=lambda e: e["reason"] == "CircuitClosed",
    )
    assert [event["reason"] for event in posted] == ["CircuitOpened", "CircuitClosed"]
    assert posted[0]["note"].startswith("i0 of 3 instances keep failing")


async def until_posted(kube: FakeKube, count: int) -> None:
    async with asyncio.timeout(60):
        while len(kube.writes) < count:
            await asyncio.sleep(0.001)
