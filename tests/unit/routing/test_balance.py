"""Who is chosen, and in what shares."""

import random
from collections import Counter

import pytest
from routing_fakes import Fake, make_fakes

from switchboard_routing.balance import FULL_SCAN, Balancer, choose_least
from switchboard_routing.policy import Strategy


def balancer(seed: int = 1) -> Balancer[Fake]:
    return Balancer(random.Random(seed).random)


def shares(strategy: Strategy, candidates: list[Fake], calls: int = 3000) -> Counter[str]:
    chooser = balancer()
    return Counter(chooser.choose(strategy, candidates).name for _ in range(calls))


@pytest.mark.parametrize("strategy", list(Strategy))
def test_every_strategy_spreads_calls_over_equal_instances(strategy: Strategy) -> None:
    found = shares(strategy, make_fakes(3))
    assert set(found) == {"i0", "i1", "i2"}
    assert max(found.values()) < 1200


def test_round_robin_takes_turns_exactly() -> None:
    assert set(shares(Strategy.ROUND_ROBIN, make_fakes(4), calls=400).values()) == {100}


@pytest.mark.parametrize("strategy", [Strategy.WEIGHTED_ROUND_ROBIN, Strategy.WEIGHTED_RANDOM])
def test_weights_set_the_shares(strategy: Strategy) -> None:
    found = shares(strategy, [Fake("small", weight=100), Fake("large", weight=300)], calls=4000)
    assert found["large"] == pytest.approx(3000, rel=0.05)


def test_smooth_round_robin_never_bursts() -> None:
    chooser, candidates = balancer(), [Fake("a", weight=5), Fake("b", weight=1), Fake("c", weight=1)]
    names = [chooser.choose(Strategy.WEIGHTED_ROUND_ROBIN, candidates).name for _ in range(7)]
    assert "".join(names) == "aabacaa"  # the sequence of nginx's commit message


@pytest.mark.parametrize("strategy", [Strategy.WEIGHTED_ROUND_ROBIN, Strategy.WEIGHTED_RANDOM])
def test_all_weights_zero_falls_back_to_turns(strategy: Strategy) -> None:
    assert set(shares(strategy, make_fakes(2, weight=0), calls=100).values()) == {50}


def test_least_connections_counts_what_an_instance_can_take() -> None:
    candidates = [Fake("small", in_flight=3, capacity=4), Fake("large", in_flight=10, capacity=40)]
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
