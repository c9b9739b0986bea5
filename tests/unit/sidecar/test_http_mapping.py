"""Calls as requests, statuses as errors."""

from email.utils import formatdate
from time import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict
from sidecar_ends import assignment

from switchboard_sidecar.http_mapping import error_of, request_headers, response_headers, url_path
from switchboard_wire.v1 import frames_pb2 as pb

HTTP = assignment("web-v2", type="web", http=pb.HttpHandler(port=8000, path="/agents/{agent}/run"))


def test_a_call_is_a_cloud_event_in_binary_mode() -> None:
    open_ = pb.Open(
        target=pb.Target(type="web", key="k/1"),
        source=pb.AgentId(namespace="ns", type="caller", key="7"),
        method="sum",
        message_id="m1",
        conversation_id="c1",
        idempotency_key="i1",
        attempt=1,
        hops=2,
        chain=["caller/7"],
        traceparent="00-abc-def-01",
        headers={"X-Tenant": "blue", "Host": "evil", "ce-id": "forged", "bad name": "x"},
    )
    frame = pb.Frame(kind=pb.OPEN, open=open_, content_type="application/json", data_type="Sum")
    assert request_headers(frame, HTTP, "ns", 1500) == {
        "Content-Type": "application/json",
        "ce-specversion": "1.0",
        "ce-id": "m1",
        "ce-source": "/ns/caller",
        "ce-type": "Sum",
        "ce-subject": "web/k/1",
        "Switchboard-Deadline-Ms": "1500",
        "Switchboard-Attempt": "1",
        "Switchboard-Hops": "2",
        "Switchboard-Key": "k/1",
        "Switchboard-Method": "sum",
        "Switchboard-Conversation-Id": "c1",
        "Switchboard-Chain": "caller/7",
        "Idempotency-Key": "i1",
        "traceparent": "00-abc-def-01",
        "X-Tenant": "blue",
    }


def test_a_bare_call_still_has_what_cloud_events_require() -> None:
    headers = request_headers(pb.Frame(kind=pb.OPEN), HTTP, "ns", 1)
    assert headers["ce-id"]
    assert {name: headers[name] for name in ("ce-specversion", "ce-source", "ce-type", "Content-Type")} == {
        "ce-specversion": "1.0",
        "ce-source": "/ns",
        "ce-type": "switchboard.call",
        "Content-Type": "application/octet-stream",
    }


@given(st.text(), st.text(), st.text())
def test_no_text_of_a_caller_can_add_a_line(name: str, value: str, key: str) -> None:
    open_ = pb.Open(target=pb.Target(key=key.encode("utf-8", "replace").decode()), method="m")
    open_.headers[name.encode("utf-8", "replace").decode()] = value.encode("utf-8", "replace").decode()
    for found, text in request_headers(pb.Frame(open=open_), HTTP, "ns", 1).items():
        assert found.isascii()
        assert text.isascii()
        assert text.isprintable()


@pytest.mark.parametrize(
    ("path", "expected"),
    [("/agents/{agent}/run", "/agents/web/run"), ("", "/agents/web/execute"), ("run", "/run"), ("/", "/")],
)
def test_the_path_names_the_agent(path: str, expected: str) -> None:
    assert url_path(assignment("x", type="web", http=pb.HttpHandler(port=1, path=path))) == expected


@pytest.mark.parametrize(
    ("status", "headers", "code", "delivered", "retry_after_ms"),
    [
        (400, {}, pb.VALIDATION_FAILED, pb.DELIVERED_YES, 0),
        (401, {}, pb.UNAUTHENTICATED, pb.DELIVERED_YES, 0),
        (403, {}, pb.PERMISSION_DENIED, pb.DELIVERED_YES, 0),
        (404, {}, pb.AGENT_NOT_FOUND, pb.DELIVERED_YES, 0),
        (409, {}, pb.VALIDATION_FAILED, pb.DELIVERED_YES, 0),
        (413, {}, pb.PAYLOAD_TOO_LARGE, pb.DELIVERED_YES, 0),
        (415, {}, pb.UNKNOWN_MESSAGE_TYPE, pb.DELIVERED_YES, 0),
        (422, {}, pb.VALIDATION_FAILED, pb.DELIVERED_YES, 0),
        (429, {}, pb.OVERLOADED, pb.DELIVERED_NO, 1000),
        (429, {"Retry-After": "3"}, pb.OVERLOADED, pb.DELIVERED_NO, 3000),
        (503, {"Retry-After": "soon"}, pb.OVERLOADED, pb.DELIVERED_NO, 1000),
        (503, {"Retry-After": "999999"}, pb.OVERLOADED, pb.DELIVERED_NO, 60_000),
        (503, {}, pb.PROCESSING_ERROR, pb.DELIVERED_YES, 0),
        (500, {}, pb.PROCESSING_ERROR, pb.DELIVERED_YES, 0),
        (302, {}, pb.PROCESSING_ERROR, pb.DELIVERED_YES, 0),
    ],
)
def test_statuses_are_errors(
    status: int, headers: dict[str, str], code: int, delivered: int, retry_after_ms: int
) -> None:
    error = error_of(status, headers, " why \n")
    assert (error.code, error.delivered, error.retry_after_ms) == (code, delivered, retry_after_ms)
    assert error.message == f"the server answered {status}: why"


def test_retry_after_may_be_a_date() -> None:
    error = error_of(429, {"Retry-After": formatdate(time() + 20, usegmt=True)}, "")
    assert 15_000 < error.retry_after_ms <= 20_000
    assert error_of(429, {"Retry-After": formatdate(time() - 20, usegmt=True)}, "").retry_after_ms == 0


def test_headers_of_the_response_go_back_but_for_those_of_connection_body_and_server() -> None:
    headers: CIMultiDict[str] = CIMultiDict(
        [
            ("X-Cost", "3"),
            ("ETag", '"v1"'),
            ("Vary", "a"),
            ("vary", "b"),
            ("Connection", "keep-alive, X-Hop"),
            ("X-Hop", "1"),
            ("Keep-Alive", "5"),
            ("Transfer-Encoding", "chunked"),
            ("Proxy-Authenticate", "x"),
            ("Content-Type", "text/plain"),
            ("Content-Length", "1"),
            ("Date", "now"),
            ("Server", "mine"),
            ("Set-Cookie", "id=1"),
            ("X-Strange", "line\u2028"),
            ("X-Broken", "\udc80"),
        ]
    )
    assert response_headers(headers) == {"x-cost": "3", "etag": '"v1"', "vary": "a, b"}


def test_headers_of_the_response_are_bounded() -> None:
    found = response_headers(CIMultiDict((f"x-{number}", "y" * 1000) for number in range(100)))
    assert 6 < len(found) < 9
