"""What the simulation's table shows, as claims: short runs, the same code."""

import pytest

from bench.simulate import HEDGE_S, render
from bench.simulation import Scenario, Simulation, share_of_keys_moved
from switchboard_routing.policy import Strategy

SECONDS = 3.0
every_strategy = pytest.mark.parametrize("strategy", list(Strategy))


@every_strategy
def test_equal_instances_get_equal_shares(strategy: Strategy) -> None:
    assert Simulation(Scenario(strategy, seconds=SECONDS)).run().imbalance < 1.2


@every_strategy
def test_an_instance_ten_times_slower_gets_a_small_share(strategy: Strategy) -> None:
    found = Simulation(Scenario(strategy, seconds=SECONDS, slow=0)).run()
    assert found.served["pod-00"] / sum(found.served.values()) < 0.03
    assert found.p99_ms < 300  # a call of its own takes 200 on average


def test_response_time_all_but_avoids_a_slow_instance() -> None:
    found = Simulation(Scenario(Strategy.RESPONSE_TIME, seconds=SECONDS, slow=0)).run()
    assert found.served["pod-00"] / sum(found.served.values()) < 0.01


@every_strategy
def test_the_gateways_zone_serves_what_it_can_and_the_rest_spills_over(strategy: Strategy) -> None:
    low = Simulation(Scenario(strategy, seconds=SECONDS, zone="a", load=0.2)).run()
    high = Simulation(Scenario(strategy, seconds=SECONDS, zone="a", load=0.7)).run()
    if strategy is Strategy.CONSISTENT_HASH:  # a key's home is the same for the gateways of every zone
        assert low.zones["a"] == pytest.approx(0.4, abs=0.05)
    else:
        assert low.zones["a"] > 0.99
        assert 0.45 < high.zones["a"] < 0.6


def test_an_eleventh_instance_takes_an_eleventh_of_the_keys() -> None:
    assert share_of_keys_moved(Strategy.CONSISTENT_HASH, 1) == pytest.approx(1 / 11, abs=0.02)


@every_strategy
def test_hedging_shortens_the_tail_of_a_slow_instance_for_a_few_more_calls(strategy: Strategy) -> None:
    without = Simulation(Scenario(strategy, seconds=SECONDS, slow=0)).run()
    hedged = Simulation(Scenario(strategy, seconds=SECONDS, slow=0, hedge_s=HEDGE_S)).run()
    assert hedged.latencies[-1] < without.latencies[-1]
    assert hedged.p99_ms < without.p99_ms
    assert 0 < hedged.hedges / sum(hedged.served.values()) < 0.12


def test_the_same_seed_gives_the_same_figures() -> None:
    scenario = Scenario(Strategy.LEAST_CONNECTIONS, seconds=1.0)
    assert Simulation(scenario).run() == Simulation(scenario).run()


def test_the_table_is_markdown() -> None:
    first, rule, row = render([["x"] * 8]).splitlines()
    assert first.count("|") == rule.count("|") == row.count("|") == 9
