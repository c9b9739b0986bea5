"""Headers of a request become fields of its call."""

import pytest
from multidict import CIMultiDict

from switchboard_gateway.rest.request_headers import apply_headers, read_metadata, wants_events
from switchboard_wire.errors import SwitchboardError
from switchboard_wire.v1 import frames_pb2 as pb

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def opened(**headers: str) -> pb.Open:
    found = pb.Open()
    apply_headers(CIMultiDict({name.replace("_", "-"): value for name, value in headers.items()}), found)
    return found


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        pytest.param({}, pb.Open(), id="none"),
        pytest.param(
            {"idempotency_key": "order-1"},
            pb.Open(idempotency_key="order-1", idempotent=True),
            id="an idempotency key allows a second delivery",
        ),
        pytest.param({"Switchboard_Strategy": "Random"}, pb.Open(strategy="Random"), id="strategy"),
        pytest.param({"switchboard_timeout_ms": "250"}, pb.Open(deadline_ms=250), id="timeout"),
        pytest.param(
            {"traceparent": TRACE, "tracestate": "a=1"}, pb.Open(traceparent=TRACE, tracestate="a=1"), id="trace"
        ),
        pytest.param({"traceparent": "00-nonsense"}, pb.Open(), id="a wrong traceparent is ignored"),
        pytest.param({"traceparent": TRACE.replace("0af", "0AF")}, pb.Open(), id="so is one in capitals"),
        pytest.param({"traceparent": f"00-{'0' * 32}-{'1' * 16}-01"}, pb.Open(), id="and one of zeros"),
        pytest.param({"tracestate": "a=1"}, pb.Open(), id="tracestate alone means nothing"),
        pytest.param({"traceparent": TRACE, "tracestate": "x" * 513}, pb.Open(traceparent=TRACE), id="a long one goes"),
    ],
)
def test_known_headers_set_fields(headers: dict[str, str], expected: pb.Open) -> None:
    assert opened(**headers) == expected


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("Idempotency-Key", ""),
        ("Idempotency-Key", "x" * 256),
        ("Idempotency-Key", "\udcff"),
        ("Switchboard-Timeout-Ms", "0"),
        ("Switchboard-Timeout-Ms", "1s"),
        ("Switchboard-Timeout-Ms", "-1"),
        ("Switchboard-Timeout-Ms", "²"),
        ("Switchboard-Timeout-Ms", "9" * 5000),
        ("Switchboard-Strategy", "\udcff"),
    ],
)
def test_a_wrong_value_is_refused_with_the_header_s_name(header: str, value: str) -> None:
    with pytest.raises(SwitchboardError, match=header) as caught:
        opened(**{header: value})
    assert caught.value.code == "VALIDATION_FAILED"


def test_metadata_headers_lose_their_prefix() -> None:
    headers = [("switchboard-metadata-Language", "en"), ("Accept", "x"), ("SWITCHBOARD-METADATA-TONE", "dry")]
    assert read_metadata(headers) == {"language": "en", "tone": "dry"}


def test_metadata_that_is_no_text_is_refused() -> None:
    with pytest.raises(SwitchboardError, match="Switchboard-Metadata-X must be printable"):
        read_metadata([("Switchboard-Metadata-X", "\udcff")])


@pytest.mark.parametrize(
    ("accept", "expected"),
    [("", False), ("*/*", False), ("text/event-stream", True), ("application/json, Text/Event-Stream;q=0.9", True)],
)
def test_events_are_wanted_when_they_are_named(accept: str, expected: bool) -> None:
    assert wants_events(accept) is expected
