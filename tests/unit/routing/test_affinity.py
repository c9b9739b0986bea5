"""Which instance is the home of a key."""

from hypothesis import given
from hypothesis import strategies as st
from routing_fakes import Fake, make_fakes

from switchboard_routing.affinity import LOAD_BOUND, Homes

names = st.sets(st.text("abc123", min_size=1, max_size=4), min_size=2, max_size=12)
keys = st.text(max_size=20)


@given(names, keys)
def test_a_key_moves_only_when_its_own_instance_leaves(names: set[str], key: str) -> None:
    members = [Fake(name) for name in names]
    home = Homes(members).home(key)
    for gone in members:
        if gone is not home:
            assert Homes([member for member in members if member is not gone]).home(key) is home


@given(names, keys, st.randoms())
def test_every_gateway_finds_the_same_home_in_whatever_order_it_knows_the_instances(
    names: set[str], key: str, random: object
) -> None:
    members = [Fake(name) for name in sorted(names)]
    shuffled = list(members)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert Homes(shuffled).home(key) is Homes(members).home(key)


@given(names, keys)
def test_a_newcomer_takes_keys_for_itself_and_moves_no_others(names: set[str], key: str) -> None:
    members = [Fake(name) for name in names]
    newcomer = Fake("newcomer")
    assert Homes([*members, newcomer]).home(key) in (newcomer, Homes(members).home(key))


@given(st.lists(st.integers(0, 50), min_size=1, max_size=12), keys)
def test_a_bounded_key_never_goes_to_an_instance_above_the_bound(loads: list[int], key: str) -> None:
    members = [Fake(f"i{number}", in_flight=load) for number, load in enumerate(loads)]
    chosen = Homes(members).bounded(key)
    assert chosen.in_flight < LOAD_BOUND * (sum(loads) + 1) / len(loads)


def test_a_key_with_no_load_around_is_at_home_with_and_without_the_bound() -> None:
    homes = Homes(make_fakes(5))
    assert [homes.bounded(str(n)).name for n in range(50)] == [homes.home(str(n)).name for n in range(50)]


def test_keys_are_spread_over_all_instances() -> None:
    homes = Homes(make_fakes(4))
    found = [homes.home(f"user-{n}").name for n in range(400)]
    assert min(found.count(f"i{n}") for n in range(4)) > 60
