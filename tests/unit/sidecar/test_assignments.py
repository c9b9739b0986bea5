"""Which assignments count."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchboard_sidecar.assignments import is_newer, parse_assignments
from switchboard_wire.v1 import frames_pb2 as pb


def make(generation: int, *types: str) -> pb.Assignments:
    return pb.Assignments(generation=generation, agents=[pb.Assignment(name=type_, type=type_) for type_ in types])


@pytest.mark.parametrize(
    ("offered", "applied", "expected"),
    [
        pytest.param(make(0), None, True, id="anything is newer than nothing"),
        pytest.param(make(3), make(2), True, id="a higher generation"),
        pytest.param(make(2, "a"), make(2), False, id="the same generation, whatever it says"),
        pytest.param(make(1), make(2), False, id="a file that is behind the stream"),
        pytest.param(make(0, "a"), make(0), True, id="a file written by hand, changed"),
        pytest.param(make(0, "a"), make(0, "a"), False, id="a file written by hand, unchanged"),
        pytest.param(make(0, "a"), make(1), False, id="a file written by hand after an operator spoke"),
    ],
)
def test_the_higher_generation_wins(offered: pb.Assignments, applied: pb.Assignments | None, expected: bool) -> None:
    assert is_newer(offered, applied) is expected


@given(st.permutations([make(number, f"a{number}") for number in range(1, 6)]))
def test_the_order_of_arrival_does_not_matter(offers: list[pb.Assignments]) -> None:
    applied: pb.Assignments | None = None
    for offer in offers:
        if is_newer(offer, applied):
            applied = offer
    assert applied is not None
    assert applied.generation == 5


def test_the_files_json_may_hold_fields_of_a_newer_operator() -> None:
    text = (
        '{"generation": "7", "futureField": 1, "agents": [{"name": "a", "type": "a", "http": {"port": 8000, "x": 1}}]}'
    )
    found = parse_assignments(text)
    assert (found.generation, found.agents[0].http.port) == (7, 8000)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"generation": "many"}', '{"agents": 3}'])
def test_what_is_no_assignments_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no assignments"):
        parse_assignments(text)


def test_the_settings_name_the_fault() -> None:
    from switchboard_sidecar.settings import Settings

    with pytest.raises(ValueError, match="SWITCHBOARD_OPS_PORT='x' is no port"):
        Settings.from_environment({"SWITCHBOARD_OPS_PORT": "x"})
    with pytest.raises(ValueError, match="'gateway' is no address"):
        Settings.from_environment({"SWITCHBOARD_GATEWAYS": "gateway"})
    found = Settings.from_environment({"SWITCHBOARD_GATEWAYS": "a:1, b:2,", "SWITCHBOARD_TOKEN_FILE": "/t"})
    assert (found.gateways, found.registries, found.token_path) == (("a:1", "b:2"), (), Path("/t"))
