"""The bytes of answers that are written in one piece."""

from email.utils import parsedate_to_datetime

import pytest

from switchboard_gateway.rest import responses
from switchboard_gateway.rest.problems import to_problem
from switchboard_gateway.rest.responses import Dates, write_json, write_problem
from switchboard_wire.errors import ErrorValue
from switchboard_wire.v1 import frames_pb2 as pb

DATE = "Sun, 22 Nov 2026 02:18:03 GMT"


def test_json_is_an_answer_with_its_length_and_the_date() -> None:
    assert write_json(b'{"id":"1"}', DATE, closes=False) == (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 10\r\n"
        b"Date: Sun, 22 Nov 2026 02:18:03 GMT\r\nServer: switchboard\r\n\r\n"
        b'{"id":"1"}'
    )


def test_the_last_answer_of_a_connection_says_so() -> None:
    assert write_json(b"{}", DATE, closes=True).endswith(b"\r\nServer: switchboard\r\nConnection: close\r\n\r\n{}")


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ErrorValue(pb.OVERLOADED, "full", 1500), b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 2\r\n"),
        (ErrorValue(pb.UNAUTHENTICATED, "who"), b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Bearer\r\n"),
        (ErrorValue(pb.CANCELLED, "gone"), b"HTTP/1.1 499 \r\n"),  # a status that HTTP has no words for
    ],
    ids=["a time to come back", "a scheme", "no reason"],
)
def test_a_problem_has_its_status_and_its_headers(error: ErrorValue, line: bytes) -> None:
    problem = to_problem(error)
    assert write_problem(problem, DATE, closes=False) == (
        line + b"Content-Type: application/problem+json\r\n"
        b"Content-Length: %d\r\nDate: %s\r\nServer: switchboard\r\n\r\n"
        % (len(problem.body), DATE.encode())
        + problem.body
    )


def test_the_date_follows_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    dates, seconds = Dates(), 1_790_000_000.9
    monkeypatch.setattr(responses.time, "time", lambda: seconds)
    first = dates.now()
    assert parsedate_to_datetime(first).timestamp() == 1_790_000_000
    assert first.endswith(" GMT")
    seconds += 0.05
    assert dates.now() is first
    seconds += 0.1
    assert parsedate_to_datetime(dates.now()).timestamp() == 1_790_000_001
