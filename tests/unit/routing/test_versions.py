"""Semantic versions and ranges of them."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchboard_routing.versions import Version, parse_range, parse_version

CASES = {
    ">=1.2,<2": (["1.2.0", "1.2.1", "1.99.0"], ["1.1.9", "2.0.0", "2.0.0-rc.1"]),
    ">= 1.2, < 2": (["1.2.0"], ["2.0.0"]),
    ">=1.2 <2": (["1.2.0"], ["2.0.0"]),
    "1.2.3": (["1.2.3", "1.2.3+build.7"], ["1.2.4", "1.2.3-rc.1"]),
    "=1.2": (["1.2.0", "1.2.9"], ["1.3.0"]),
    "1": (["1.0.0", "1.9.9"], ["2.0.0", "0.9.0"]),
    ">1.2": (["1.3.0"], ["1.2.0", "1.2.9"]),
    "<=1.2": (["1.2.9", "0.1.0"], ["1.3.0"]),
    ">1.2.3": (["1.2.4"], ["1.2.3"]),
    "!=1.2.3": (["1.2.4"], ["1.2.3"]),
    "^1.2.3": (["1.2.3", "1.9.0"], ["1.2.2", "2.0.0"]),
    "^0.2.3": (["0.2.9"], ["0.3.0", "0.2.2"]),
    "^0.0.3": (["0.0.3"], ["0.0.4"]),
    "~1.2.3": (["1.2.9"], ["1.3.0", "1.2.2"]),
    "~1": (["1.9.0"], ["2.0.0"]),
    "1.x": (["1.0.0", "1.9.9"], ["2.0.0"]),
    "1.2.*": (["1.2.9"], ["1.3.0"]),
    "*": (["0.0.0", "9.9.9"], ["1.0.0-rc.1"]),
    ">=2.0.0-rc.1": (["2.0.0-rc.1", "2.0.0-rc.2", "2.0.0", "3.0.0"], ["2.0.0-beta", "3.0.0-rc.1"]),
}


@pytest.mark.parametrize(("text", "inside", "outside"), [(k, *v) for k, v in CASES.items()], ids=CASES.keys())
def test_range(text: str, inside: list[str], outside: list[str]) -> None:
    found = {version: parse_version(version) in parse_range(text) for version in [*inside, *outside]}  # type: ignore[operator]
    assert found == dict.fromkeys(inside, True) | dict.fromkeys(outside, False)


@pytest.mark.parametrize("text", ["", ",", ">=", "latest", "1.2.3.4", ">=1.2,,<2", "01.2", "1.2 || 2", "^", "x" * 200])
def test_what_is_no_range_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="version"):
        parse_range(text)


def test_order_of_pre_releases_as_the_specification_has_it() -> None:
    tails = ["-alpha", "-alpha.1", "-alpha.beta", "-beta", "-beta.2", "-beta.11", "-rc.1", ""]
    versions = [parse_version(f"1.0.0{tail}") for tail in tails]
    assert sorted(versions, reverse=True)[::-1] == versions  # type: ignore[type-var]


numbers = st.integers(0, 30)
versions = st.builds(
    lambda major, minor, patch: Version((major, minor, patch)),
    numbers,
    numbers,
    numbers,
)


def text_of(version: Version) -> str:
    return ".".join(map(str, version.triple))


@given(versions, versions)
def test_comparisons_agree_with_the_order(version: Version, bound: Version) -> None:
    text = text_of(bound)
    assert (version in parse_range(f">={text}")) == (version >= bound)
    assert (version in parse_range(f"<{text}")) == (version < bound)
    assert (version in parse_range(f"={text}")) == (version not in parse_range(f"!={text}")) == (version == bound)


@given(versions, versions)
def test_a_caret_keeps_the_first_number_that_is_not_zero(version: Version, bound: Version) -> None:
    inside = version in parse_range(f"^{text_of(bound)}")
    kept = next((n for n, number in enumerate(bound.triple) if number), 2)
    assert inside == (version >= bound and version.triple[: kept + 1] == bound.triple[: kept + 1])


@given(versions)
def test_every_version_is_in_its_own_ranges(version: Version) -> None:
    text = text_of(version)
    major, minor, _ = version.triple
    assert all(
        version in parse_range(found) for found in (text, f"^{text}", f"~{text}", f"{major}.{minor}", f"{major}.x")
    )


@given(st.text(max_size=20))
def test_any_text_is_a_range_or_a_value_error(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert isinstance(Version((1, 0, 0)) in parse_range(text), bool)
