"""Selectors, placements and claims, case by case."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchboard_routing.binding import Claim, Placement, Requirement, Selector, rival_of

NODES = {"red": {"color": "red"}, "blue": {"color": "blue", "gpu": ""}, "plain": {}}


@pytest.mark.parametrize(
    ("selector", "selected"),
    [
        pytest.param(Selector(), set(), id="an empty selector selects nothing"),
        pytest.param(Selector((("color", "red"),)), {"red"}, id="a label"),
        pytest.param(Selector((), (Requirement("color", "In", ("red", "green")),)), {"red"}, id="In"),
        pytest.param(Selector((), (Requirement("color", "NotIn", ("red",)),)), {"blue", "plain"}, id="NotIn"),
        pytest.param(Selector((), (Requirement("gpu", "Exists"),)), {"blue"}, id="Exists"),
        pytest.param(Selector((), (Requirement("color", "DoesNotExist"),)), {"plain"}, id="DoesNotExist"),
        pytest.param(Selector((), (Requirement("color", "Gt", ("1",)),)), set(), id="an operator of a newer API"),
        pytest.param(
            Selector((("color", "blue"),), (Requirement("gpu", "DoesNotExist"),)), set(), id="all of it must hold"
        ),
    ],
)
def test_a_selector_selects_nodes(selector: Selector, selected: set[str]) -> None:
    assert Placement(selector=selector).nodes(NODES) == selected


def test_a_node_that_is_named_counts_whether_it_exists_or_not() -> None:
    assert Placement("writers").nodes({}) == {"writers"}


claims = st.builds(
    Claim,
    st.sampled_from(["2026-01-01", "2026-01-02"]),
    st.sampled_from("abcd"),
    st.uuids().map(str),
    st.sampled_from("12"),
)


@given(st.lists(claims, min_size=1, max_size=6))
def test_of_each_version_exactly_one_wins_and_all_others_lose_to_it(found: list[Claim]) -> None:
    for version in {claim.version for claim in found}:
        of_version = [claim for claim in found if claim.version == version]
        (winner,) = [claim for claim in of_version if rival_of(claim, found) is None]
        assert {rival_of(claim, found) for claim in of_version} - {None} <= {winner}
        assert winner == min(of_version)
