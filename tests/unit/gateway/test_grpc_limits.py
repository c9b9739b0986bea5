"""Limits of the gRPC port: read from the environment, and documented as they are."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from switchboard_gateway import grpc_limits
from switchboard_gateway.age import LATEST, SOONEST, Age
from switchboard_gateway.grpc_limits import GrpcLimits

TEXT = (Path(__file__).parents[3] / "docs/reference/grpc.md").read_text()
VARIABLES = {name: value for name, value in vars(grpc_limits).items() if name.startswith("ENV_")}


def test_nothing_said_is_the_defaults() -> None:
    assert GrpcLimits.from_environment({}) == GrpcLimits()


def test_every_variable_sets_a_limit() -> None:
    values = dict.fromkeys(VARIABLES.values(), "2000000") | {grpc_limits.ENV_REFLECTION: "true"}
    read = GrpcLimits.from_environment(values)
    usual = GrpcLimits()
    assert all(getattr(read, field.name) != getattr(usual, field.name) for field in fields(GrpcLimits))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (grpc_limits.ENV_MAX_REQUEST_BYTES, "1000"),
        (grpc_limits.ENV_MAX_STREAMS, "0"),
        (grpc_limits.ENV_HANDSHAKE_SECONDS, "-1"),
        (grpc_limits.ENV_CONNECTION_AGE_SECONDS, "soon"),
        (grpc_limits.ENV_REFLECTION, "yes"),
    ],
)
def test_what_is_no_limit_is_refused_by_name(name: str, text: str) -> None:
    with pytest.raises(ValueError, match=name):
        GrpcLimits.from_environment({name: text})


def test_the_reference_tells_the_defaults() -> None:
    documented = dict(re.findall(r"\| `(SWITCHBOARD_GRPC_[A-Z_]+)` \| (\S+) \|", TEXT))
    assert set(documented) == set(VARIABLES.values())
    read = GrpcLimits.from_environment({name: value.replace(",", "") for name, value in documented.items()})
    assert read == GrpcLimits()


def test_a_connection_may_live_for_ever() -> None:
    names = {name for name, _ in GrpcLimits(connection_age_s=0).server_options()}
    assert not any("connection_age" in name for name in names)


@pytest.mark.parametrize("chance", [0.0, 0.5, 0.999])
def test_a_session_is_told_before_grpc_tells_its_connection(chance: float) -> None:
    drawn = Age(100, 10).draw(lambda: chance)
    assert 100 * SOONEST <= drawn < 100 * LATEST < 90
