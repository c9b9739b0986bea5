"""Who is chosen, and in what shares."""

import random
from collections import Counter
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchboard_routing.balance import FULL_SCAN, Balancer, choose_by_key, choose_least
from switchboard_routing.policy import KeyAffinity, Strategy


@dataclass
class Fake:
    name: str
    in_flight: int = 0
    concurrency: int = 16
    latency_s: float = 0.01
    weight: float = 100.0


def make(count: int, **changes: float) -> list[Fake]:
    return [Fake(f"i{number}", **changes) for number in range(count)]  # type: ignore[arg-type]


def balancer(seed: int = 1) -> Balancer[Fake]:
    return Balancer(random.Random(seed).random)


def shares(strategy: Strategy, candidates: list[Fake], calls: int = 3000, key: str = "") -> Counter[str]:
    chooser = balancer()
    return Counter(chooser.choose(strategy, candidates, key, KeyAffinity.PREFERRED).name for _ in range(calls))


@pytest.mark.parametrize("strategy", list(Strategy))
def test_every_strategy_spreads_calls_over_equal_instances(strategy: Strategy) -> None:
    found = shares(strategy, make(3))
    assert set(found) == {"i0", "i1", "i2"}
    assert max(found.values()) < 1200


def test_round_robin_takes_turns_exactly() -> None:
    assert set(shares(Strategy.ROUND_ROBIN, make(4), calls=400).values()) == {100}


@pytest.mark.parametrize("strategy", [Strategy.WEIGHTED_ROUND_ROBIN, Strategy.WEIGHTED_RANDOM])
def test_weights_set_the_shares(strategy: Strategy) -> None:
    found = shares(strategy, [Fake("small", weight=100), Fake("large", weight=300)], calls=4000)
    assert found["large"] == pytest.approx(3000, rel=0.05)


def test_smooth_round_robin_never_bursts() -> None:
    chooser, candidates = balancer(), [Fake("a", weight=5), Fake("b", weight=1), Fake("c", weight=1)]
    names = [chooser.choose(Strategy.WEIGHTED_ROUND_ROBIN, candidates, "", KeyAffinity.NONE).name for _ in range(7)]
    assert "".join(names) == "aabacaa"  # the sequence of nginx's commit message


@pytest.mark.parametrize("strategy", [Strategy.WEIGHTED_ROUND_ROBIN, Strategy.WEIGHTED_RANDOM])
def test_all_weights_zero_falls_back_to_turns(strategy: Strategy) -> None:
    assert set(shares(strategy, make(2, weight=0), calls=100).values()) == {50}


def test_least_connections_counts_what_an_instance_can_take() -> None:
    candidates = [Fake("small", in_flight=3, concurrency=4), Fake("large", in_flight=10, concurrency=40)]
    assert set(shares(Strategy.LEAST_CONNECTIONS, candidates, calls=50)) == {"large"}


def test_response_time_weighs_latency_by_what_is_under_way() -> None:
    candidates = [Fake("slow", latency_s=0.1), Fake("fast", latency_s=0.01, in_flight=5)]
    assert set(shares(Strategy.RESPONSE_TIME, candidates, calls=50)) == {"fast"}


def test_above_the_full_scan_two_drawn_at_random_avoid_the_loaded_ones() -> None:
    candidates = [Fake(f"i{n}", in_flight=0 if n else 10) for n in range(FULL_SCAN + 1)]
    rng = random.Random(3).random
    found = {choose_least(candidates, rng, lambda c: float(c.in_flight)).name for _ in range(500)}
    assert "i0" not in found
    assert len(found) > FULL_SCAN // 2


@given(st.sets(st.text("abc123", min_size=1, max_size=4), min_size=2, max_size=12), st.text(max_size=20))
def test_a_key_moves_only_when_its_own_instance_leaves(names: set[str], key: str) -> None:
    candidates = [Fake(name) for name in names]
    home = choose_by_key(candidates, key, bounded=False)
    for gone in candidates:
        if gone is not home:
            rest = [candidate for candidate in candidates if candidate is not gone]
            assert choose_by_key(rest, key, bounded=False) is home
    assert choose_by_key(candidates[::-1], key, bounded=False) is home


def test_a_preferred_key_leaves_an_overloaded_home_and_a_required_one_does_not() -> None:
    candidates = make(3)
    home = choose_by_key(candidates, "user-1", bounded=False)
    home.in_flight = 30
    assert choose_by_key(candidates, "user-1", bounded=True) is not home
    assert choose_by_key(candidates, "user-1", bounded=False) is home
