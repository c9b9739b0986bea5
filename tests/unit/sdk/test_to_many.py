"""What the SDK makes of the results of a message to many."""

import json
from typing import Any

import pytest

from switchboard import AgentId, Answer, Delivery, InternalError, NodeUnavailable
from switchboard.options import EveryInstance, Topic, build_target
from switchboard.to_many import read_deliveries
from switchboard_gateway.fan_out import describe_error, describe_output
from switchboard_wire.errors import ErrorValue
from switchboard_wire.v1 import frames_pb2 as pb


def read(**entry: Any) -> Delivery:
    data = json.dumps([{"agent": "echo/k", "instance": "i", **entry}]).encode()
    [delivery] = read_deliveries(Answer(pb.Frame(data=data, content_type="application/json"), "m"))
    assert (delivery.agent, delivery.instance) == (AgentId("echo", "k"), "i")
    return delivery


@pytest.mark.parametrize(
    ("data", "content_type", "value"),
    [
        (b"text", "text/plain", "text"),
        (b'{"a": 1}', "application/json", {"a": 1}),
        (b"\xff", "image/png", b"\xff"),
        (b"{", "application/json", b"{"),
    ],
)
def test_a_result_is_what_the_gateway_told_of_it(data: bytes, content_type: str, value: object) -> None:
    delivery = read(ok=True, **describe_output(data, content_type, complete=True))
    assert (delivery.value, delivery.ok, delivery.truncated) == (value, True, False)


def test_of_a_long_result_the_beginning_is_there() -> None:
    delivery = read(ok=True, **describe_output(b"text", "text/plain", complete=False))
    assert (delivery.value, delivery.truncated) == (b"text", True)


def test_a_result_without_output_is_none() -> None:
    assert read(ok=True).value is None


def test_a_failure_is_the_error_that_a_call_would_have_raised() -> None:
    error = ErrorValue(pb.NODE_UNAVAILABLE, "gone", 5, pb.DELIVERED_MAYBE)
    found = read(ok=False, error=describe_error(error)).error
    assert isinstance(found, NodeUnavailable)
    assert found.error == error


def test_a_code_that_this_version_does_not_know_is_an_internal_error() -> None:
    error = {"code": "NEW", "message": "?", "delivered": "NO"}
    assert isinstance(read(ok=False, error=error).error, InternalError)


def test_targets_of_many() -> None:
    assert build_target(Topic("news", "s"), {"namespace": "n"}) == pb.Target(
        namespace="n", topic="news", topic_source="s"
    )
    assert build_target(EveryInstance(AgentId("echo")), {"key": "k"}) == pb.Target(
        type="echo", key="k", all_instances=True
    )
