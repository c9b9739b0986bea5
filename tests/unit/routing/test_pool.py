"""Who gets a call when zones, circuits, keys, push-back and load meet."""

import random
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from routing_fakes import Fake, make_fakes

from switchboard_routing.affinity import Homes
from switchboard_routing.breaker import Breaker, Outcome, State
from switchboard_routing.policy import AgentPolicy, BreakerPolicy, KeyAffinity, Strategy
from switchboard_routing.pool import Pool

LEAST, HASH = Strategy.LEAST_CONNECTIONS, Strategy.CONSISTENT_HASH
BREAKER = BreakerPolicy(consecutive_failures=2, open_s=10, successes_to_close=2)


def make_pool(instances: list[Fake], zone: str = "", **fields: Any) -> Pool[Fake]:
    policy = AgentPolicy(namespace="default", name="echo", type="echo", breaker=BREAKER, **fields)
    pool: Pool[Fake] = Pool(policy, random.Random(5).random)
    pool.update(policy, instances, zone)
    return pool


def chosen(pool: Pool[Fake], calls: int = 60, strategy: Strategy = LEAST, key: str = "", now: float = 0.0) -> set[str]:
    found = [pool.choose(strategy, key, (), now) for _ in range(calls)]
    return {instance.name for instance in found if instance is not None}


def fail(pool: Pool[Fake], instance: Fake, times: int = 2, now: float = 0.0, retry_after_s: float = 0.0) -> None:
    for _ in range(times):
        pool.record(instance, Outcome.FAILURE, pool.probe(instance), retry_after_s, now)


def begin(pool: Pool[Fake], instance: Fake) -> None:
    instance.in_flight += 1
    if pool.own is not None:
        pool.began(instance)


def end(pool: Pool[Fake], instance: Fake) -> None:
    instance.in_flight -= 1
    if pool.own is not None:
        pool.ended(instance)


# Zones


def test_the_gateways_own_zone_comes_first() -> None:
    near, far = Fake("near", zone="a"), Fake("far", zone="b")
    assert chosen(make_pool([near, far], zone="a")) == {"near"}


def test_a_busy_zone_spills_over_to_free_instances_elsewhere() -> None:
    near, far = Fake("near", zone="a", in_flight=16), Fake("far", zone="b")
    assert chosen(make_pool([near, far], zone="a")) == {"far"}


def test_when_all_are_busy_the_own_zone_queues() -> None:
    near, far = Fake("near", zone="a", in_flight=20), Fake("far", zone="b", in_flight=16)
    assert chosen(make_pool([near, far], zone="a")) == {"near"}


def test_a_full_zone_gives_way_to_one_with_room_in_its_queues() -> None:
    near, far = Fake("near", zone="a", in_flight=116), Fake("far", zone="b", in_flight=50)
    assert chosen(make_pool([near, far], zone="a")) == {"far"}


@pytest.mark.parametrize("zone", ["", "nowhere"])
def test_without_instances_in_the_zone_all_count(zone: str) -> None:
    assert chosen(make_pool([Fake("i", zone="a"), Fake("j", zone="b")], zone=zone)) == {"i", "j"}


def test_a_zone_that_is_busy_by_the_agents_own_limit_spills_over() -> None:
    near, far = Fake("near", zone="a"), Fake("far", zone="b")
    pool = make_pool([near, far], zone="a", concurrency=1)
    assert chosen(pool) == {"near"}
    begin(pool, near)
    assert chosen(pool) == {"far"}
    begin(pool, far)
    assert chosen(pool) == {"near"}  # all are busy: the own zone queues
    end(pool, near)
    assert chosen(pool) == {"near"}


def test_calls_beyond_the_agents_own_limit_wait_in_the_shortest_line() -> None:
    i, j = Fake("i"), Fake("j", in_flight=10)  # j is busy with another Agent, for which there is room
    pool = make_pool([i, j], concurrency=2)
    for _ in range(4):
        begin(pool, i)
    for _ in range(2):
        begin(pool, j)
    assert chosen(pool) == {"j"}


def test_an_agents_limit_may_come_and_go_under_way() -> None:
    instance, other = make_fakes(2)
    pool = make_pool([instance, other])
    begin(pool, instance)
    pool.update(replace(pool.policy, concurrency=1), [instance, other], "")
    begin(pool, instance)
    assert chosen(pool) == {"i1"}
    end(pool, instance)
    end(pool, instance)  # this one began before anybody counted
    begin(pool, instance)
    assert chosen(pool) == {"i1"}
    pool.update(replace(pool.policy, concurrency=None), [instance, other], "")
    end(pool, instance)
    assert chosen(pool) == {"i0", "i1"}


# Load


@pytest.mark.parametrize("strategy", [s for s in Strategy if s is not HASH])
def test_an_instance_that_is_full_is_passed_over(strategy: Strategy) -> None:
    full, others = Fake("full", in_flight=116), make_fakes(2)
    assert chosen(make_pool([full, *others]), strategy=strategy) == {"i0", "i1"}


def test_when_all_are_full_one_gets_the_call_and_may_refuse_it() -> None:
    assert chosen(make_pool(make_fakes(2, in_flight=200))) == {"i0", "i1"}


# Circuits


def test_an_instance_whose_circuit_is_open_gets_nothing_until_its_time_has_come() -> None:
    failing, others = Fake("failing"), make_fakes(2)
    pool = make_pool([failing, *others])
    fail(pool, failing)
    assert chosen(pool, now=9.9) == {"i0", "i1"}
    assert "failing" in chosen(pool, now=10.0)


def test_probes_close_the_circuit_and_the_changes_are_told() -> None:
    changes: list[tuple[str, State]] = []
    failing = Fake("failing")
    policy = AgentPolicy(namespace="default", name="echo", type="echo", breaker=BREAKER)
    pool: Pool[Fake] = Pool(policy, random.Random(5).random, lambda i, state: changes.append((i.name, state)))
    pool.update(policy, [failing, *make_fakes(2)], "")
    fail(pool, failing)
    chosen(pool, now=10.0)
    for _ in range(2):
        pool.record(failing, Outcome.SUCCESS, pool.probe(failing), 0, 11.0)
    assert changes == [("failing", State.OPEN), ("failing", State.HALF_OPEN), ("failing", State.CLOSED)]
    assert pool.breakers == {}


def test_the_last_instance_is_never_ejected_but_takes_one_call_at_a_time() -> None:
    only = Fake("only")
    pool = make_pool([only])
    fail(pool, only)
    assert pool.choose(LEAST, "", (), 1.0) is only
    probe = pool.probe(only)
    assert pool.choose(LEAST, "", (), 1.0) is None
    assert pool.next_attempt_s(LEAST, "", 1.0) == 9.0
    pool.record(only, Outcome.NEUTRAL, probe, 0, 1.0)
    assert pool.choose(LEAST, "", (), 1.0) is only


def test_the_last_instance_is_back_as_soon_as_it_answers() -> None:
    only = Fake("only")
    pool = make_pool([only])
    fail(pool, only)
    for _ in range(2):
        pool.record(only, Outcome.SUCCESS, pool.probe(only), 0, 1.0)
    assert pool.circuits() == {State.CLOSED: 1, State.OPEN: 0, State.HALF_OPEN: 0}


def test_when_under_half_are_healthy_all_are_used() -> None:
    instances = make_fakes(3)
    pool = make_pool(instances)
    fail(pool, instances[0])
    assert chosen(pool) == {"i1", "i2"}
    fail(pool, instances[1])
    assert chosen(pool) == {"i0", "i1", "i2"}


def test_an_instance_that_leaves_and_returns_starts_anew() -> None:
    failing, other = make_fakes(2)
    pool = make_pool([failing, other])
    fail(pool, failing)
    pool.update(pool.policy, [other], "")
    pool.update(pool.policy, [failing, other], "")
    assert chosen(pool) == {"i0", "i1"}


def test_a_reset_closes_every_circuit_and_late_probes_say_nothing() -> None:
    failing, other = make_fakes(2)
    pool = make_pool([failing, other])
    fail(pool, failing)
    chosen(pool, now=10.0)
    probe = pool.probe(failing)
    pool.reset()
    pool.record(failing, Outcome.FAILURE, probe, 0, 11.0)
    assert pool.breakers == {}
    assert chosen(pool) == {"i0", "i1"}


# Push-back


def test_an_instance_that_asks_for_a_pause_is_passed_over_while_it_lasts() -> None:
    tired, other = make_fakes(2)
    pool = make_pool([tired, other])
    pool.push_back(tired, 2.0, 0.0)
    assert chosen(pool, now=1.9) == {"i1"}
    assert chosen(pool, now=2.0) == {"i0", "i1"}


def test_when_all_ask_for_a_pause_a_call_is_tried_once_and_not_on_each_of_them() -> None:
    instances = make_fakes(3)
    pool = make_pool(instances)
    for instance in instances:
        pool.push_back(instance, 2.0, 0.0)
    first = pool.choose(LEAST, "", (), 1.0)
    assert first is not None
    assert pool.able(LEAST, "", (first,), 1.0) == []


# Keys


def test_a_required_key_stays_whatever_the_zone_the_load_and_the_neighbours_do() -> None:
    instances = [Fake(f"i{n}", zone="ab"[n % 2]) for n in range(6)]
    home = Homes(instances).home("user-1")
    for zone in ("a", "b", ""):
        pool = make_pool(instances[::-1], zone=zone, key_affinity=KeyAffinity.REQUIRED)
        home.in_flight = 500
        assert chosen(pool, key="user-1") == {home.name}
        fail(pool, next(i for i in instances if i is not home))
        assert chosen(pool, key="user-1") == {home.name}


def test_a_required_key_does_not_move_away_from_an_open_circuit() -> None:
    instances = make_fakes(4)
    home = Homes(instances).home("user-1")
    pool = make_pool(instances, key_affinity=KeyAffinity.REQUIRED)
    fail(pool, home)
    assert pool.choose(LEAST, "user-1", (), 1.0) is None
    assert pool.next_attempt_s(LEAST, "user-1", 1.0) == 9.0
    assert pool.choose(LEAST, "user-1", (), 10.0) is home


def test_a_preferred_key_leaves_a_home_that_is_overloaded_or_fails() -> None:
    instances = make_fakes(4)
    pool = make_pool(instances)
    home = Homes(instances).home("user-1")
    assert chosen(pool, key="user-1") == {home.name}
    home.in_flight = 30
    assert home.name not in chosen(pool, key="user-1")
    home.in_flight = 0
    fail(pool, home)
    assert home.name not in chosen(pool, key="user-1")


def test_without_affinity_a_key_says_nothing_unless_the_strategy_hashes() -> None:
    pool = make_pool(make_fakes(4), key_affinity=KeyAffinity.NONE)
    assert len(chosen(pool, key="user-1")) == 4
    assert len(chosen(pool, key="user-1", strategy=HASH)) == 1


def test_a_hash_without_a_key_takes_turns() -> None:
    pool = make_pool(make_fakes(4))
    turns = Counter(pool.choose(HASH, "", (), 0.0) for _ in range(40))
    assert set(turns.values()) == {10}


# Whatever happens

loads = st.lists(st.tuples(st.integers(0, 200), st.sampled_from("ab"), st.booleans()), min_size=1, max_size=8)


@given(
    loads,
    st.sampled_from(list(Strategy)),
    st.sampled_from(list(KeyAffinity)),
    st.sampled_from(["", "k"]),
    st.sampled_from(["", "a", "c"]),
)
def test_somebody_gets_the_call_as_long_as_anybody_lives(
    given_: list[tuple[int, str, bool]], strategy: Strategy, affinity: KeyAffinity, key: str, zone: str
) -> None:
    instances = [Fake(f"i{n}", zone=place, in_flight=load) for n, (load, place, _) in enumerate(given_)]
    pool = make_pool(instances, zone=zone, key_affinity=affinity)
    for instance, (_, _, fails) in zip(instances, given_, strict=True):
        if fails:
            fail(pool, instance)
    found = pool.choose(strategy, key, (), 1.0)
    if not (key and affinity is KeyAffinity.REQUIRED):  # which has one home, and waits for it
        assert found in instances
    if found is not None and not all(fails for *_, fails in given_) and not pool.breakers:
        assert found.in_flight < 116 or min(i.in_flight for i in instances) >= 116 or key


@given(loads, st.sampled_from(list(Strategy)))
def test_an_instance_that_was_tried_is_not_chosen_again(
    given_: list[tuple[int, str, bool]], strategy: Strategy
) -> None:
    instances = [Fake(f"i{n}", in_flight=load) for n, (load, _, _) in enumerate(given_)]
    pool = make_pool(instances)
    tried: tuple[Fake, ...] = ()
    for _ in instances:
        found = pool.choose(strategy, "", tried, 0.0)
        assert found is not None
        assert found not in tried
        tried = (*tried, found)
    assert pool.choose(strategy, "", tried, 0.0) is None


def able_by_the_rules(pool: Pool[Fake], pushed: dict[Fake, float], tried: tuple[Fake, ...], now: float) -> list[Fake]:
    """What `Pool.able` promises, reckoned from the circuits as they stand and the pauses that were asked for."""
    suspects = [i for i in pool.instances if i in pool.breakers and pool.breakers[i].state is not State.CLOSED]
    panics = 2 * (len(pool.instances) - len(suspects)) < len(pool.instances)

    def admits(instance: Fake) -> bool:
        if instance not in suspects:
            return True
        breaker = pool.breakers[instance]
        if breaker.state is State.OPEN and now < breaker.until:
            return panics and not breaker.probes
        return breaker.probes < BREAKER.successes_to_close

    admitted = [i for i in pool.instances if admits(i)]
    rested = [i for i in admitted if pushed.get(i, 0.0) <= now]
    if not tried:
        return rested or admitted
    return [i for i in rested if i not in tried]


happenings = st.tuples(
    st.sampled_from(["begin", "fail", "succeed", "push back", "wait", "leave", "return"]),
    st.integers(0, 5),
    st.sampled_from([0.0, 1.0, 6.0, 11.0]),
)


@given(st.lists(happenings, max_size=40), st.integers(2, 6))
def test_what_is_kept_from_call_to_call_is_what_one_would_find_anew(
    story: list[tuple[str, int, float]], count: int
) -> None:
    instances = make_fakes(count)
    pool = make_pool(instances)
    pushed: dict[Fake, float] = {}
    under_way: list[tuple[Fake, Breaker | None]] = []
    now = 0.0
    for what, number, seconds in story:
        instance = instances[number % count]
        if what == "begin":
            under_way.append((instance, pool.probe(instance)))
        elif what in ("fail", "succeed") and under_way:
            begun, probe = under_way.pop(number % len(under_way))
            pool.record(begun, Outcome.FAILURE if what == "fail" else Outcome.SUCCESS, probe, 0.0, now)
        elif what == "push back" and seconds and len(pool.instances) > 1 and instance in pool.instances:
            pool.push_back(instance, seconds, now)
            pushed[instance] = now + seconds
        elif what == "wait":
            now += seconds
        elif what == "leave":
            pool.update(pool.policy, [i for i in pool.instances if i is not instance], "")
            pushed.pop(instance, None)
        elif what == "return":
            pool.update(pool.policy, {*pool.instances, instance}, "")
        expected = able_by_the_rules(pool, pushed, (), now)
        assert pool.able(LEAST, "", (), now) == expected
        assert (pool.choose(LEAST, "", (), now) is not None) == bool(expected)
        assert pool.able(LEAST, "", (instance,), now) == able_by_the_rules(pool, pushed, (instance,), now)
        assert pool.choose(HASH, "k", (), now) == (Homes(expected).bounded("k") if expected else None)
