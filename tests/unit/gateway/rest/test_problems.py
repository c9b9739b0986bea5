"""Errors as problem documents."""

import json

import pytest

from switchboard_gateway.rest.problems import to_problem
from switchboard_wire.errors import ERROR_TABLE, ErrorValue, name_of
from switchboard_wire.v1 import frames_pb2 as pb


@pytest.mark.parametrize("code", ERROR_TABLE, ids=name_of)
def test_every_code_has_its_status(code: int) -> None:
    problem = to_problem(ErrorValue(code, "why"))
    found = json.loads(problem.body)
    assert (problem.status, found["status"]) == (ERROR_TABLE[code].http, ERROR_TABLE[code].http)
    assert (found["code"], found["detail"]) == (name_of(code), "why")


def test_a_problem_says_everything_that_is_known() -> None:
    error = ErrorValue(pb.OVERLOADED, "full", 1200, pb.DELIVERED_MAYBE, {"queue": "100"})
    problem = to_problem(error)
    assert problem.headers == {"Retry-After": "2"}  # whole seconds, never too early
    assert json.loads(problem.body) == {
        "type": "https://switchboard.dev/errors/OVERLOADED",
        "title": "Overloaded",
        "status": 429,
        "detail": "full",
        "code": "OVERLOADED",
        "delivered": "MAYBE",
        "retryAfterMs": 1200,
        "details": {"queue": "100"},
    }


@pytest.mark.parametrize(
    ("code", "seconds"),
    [
        pytest.param(pb.OVERLOADED, "1", id="overloaded"),
        pytest.param(pb.AGENT_OFFLINE, "1", id="offline"),
        pytest.param(pb.CIRCUIT_OPEN, "1", id="circuit open"),
        pytest.param(pb.AGENT_NOT_FOUND, None, id="not found: waiting does not help"),
    ],
)
def test_a_refusal_for_now_always_says_when_to_come_back(code: int, seconds: str | None) -> None:
    assert to_problem(ErrorValue(code, "")).headers.get("Retry-After") == seconds


def test_http_may_know_a_better_status() -> None:
    assert to_problem(ErrorValue(pb.VALIDATION_FAILED, ""), 405).status == 405


def test_a_code_from_the_future_is_an_internal_error() -> None:
    assert json.loads(to_problem(ErrorValue(99, "")).body)["code"] == "INTERNAL_ERROR"
