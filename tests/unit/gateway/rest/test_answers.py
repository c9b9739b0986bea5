"""An answer as JSON, and as an HTTP answer of its own type."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchboard_gateway.rest.answers import Answer, safe_content_type, to_headers, to_json, to_summary
from switchboard_wire.v1 import frames_pb2 as pb


def make_answer(data: bytes = b"", content_type: str = "", **close: object) -> Answer:
    frame = pb.Frame(kind=pb.CLOSE, instance="writers-1", processing_us=1500, data=data, content_type=content_type)
    for name, value in close.items():
        getattr(frame, name).update(value)
    return Answer("m1", "summarizer", frame)


FACTS = {"id": "m1", "agent": "summarizer", "instance": "writers-1", "processingMs": 1.5}


@pytest.mark.parametrize(
    ("data", "content_type", "expected"),
    [
        pytest.param(b"", "", {"output": None}, id="nothing is null"),
        pytest.param("hä\n\x00".encode(), "text/plain", {"output": "hä\n\x00"}, id="text is a string"),
        pytest.param(b"hi", "Text/Plain; charset=utf-8", {"output": "hi"}, id="parameters do not matter"),
        pytest.param(b'{"a": [1]}', "application/json", {"output": {"a": [1]}}, id="JSON is its value"),
        pytest.param(
            b"<p>", "text/html", {"output": "<p>", "contentType": "text/html"}, id="other text says its content type"
        ),
        pytest.param(
            b"{}", "application/ld+json", {"output": {}, "contentType": "application/ld+json"}, id="so does other JSON"
        ),
        pytest.param(
            b"\x89PNG",
            "image/png",
            {"output": base64.b64encode(b"\x89PNG").decode(), "contentType": "image/png", "encoding": "base64"},
            id="bytes are base64",
        ),
        pytest.param(
            b"x",
            "",
            {"output": "eA==", "contentType": "application/octet-stream", "encoding": "base64"},
            id="bytes of no type are bytes",
        ),
        pytest.param(
            b"NaN",
            "application/json",
            {"output": "TmFO", "contentType": "application/json", "encoding": "base64"},
            id="JSON that is none is bytes",
        ),
        pytest.param(
            b"\xff",
            "text/plain",
            {"output": "/w==", "contentType": "text/plain", "encoding": "base64"},
            id="text that is no UTF-8 is bytes",
        ),
    ],
)
def test_output_follows_the_content_type(data: bytes, content_type: str, expected: dict[str, object]) -> None:
    assert json.loads(to_json(make_answer(data, content_type))) == FACTS | expected


@given(st.binary(), st.sampled_from(["", "text/plain", "application/json", "image/png", "application/x+json", "\r\n"]))
def test_every_answer_is_json(data: bytes, content_type: str) -> None:
    found = json.loads(to_json(make_answer(data, content_type)))
    if found.get("encoding") == "base64":
        assert base64.b64decode(found["output"]) == data
    elif content_type == "text/plain":
        assert found["output"].encode() == data


def test_headers_of_an_answer_are_its_metadata() -> None:
    answer = make_answer(b"x", "text/plain", headers={"model": 'a"b'})
    assert json.loads(to_json(answer))["metadata"] == {"model": 'a"b'}
    assert to_headers(answer)["Switchboard-Metadata-model"] == 'a"b'


def test_a_summary_has_no_output() -> None:
    assert json.loads(to_summary(make_answer(b"x", "text/plain"))) == FACTS


def test_a_handler_cannot_write_headers_of_its_own() -> None:
    answer = make_answer(b"x", "text/plain\r\nSet-Cookie: a=b", headers={"a": "1\r\nX: 2", "b\r\nX": "1", "c": "3"})
    found = to_headers(answer)
    assert found["Content-Type"] == "application/octet-stream"
    assert {name for name in found if name.startswith("Switchboard-Metadata")} == {"Switchboard-Metadata-c"}


@pytest.mark.parametrize("text", ["text/plain", "text/plain; charset=utf-8", "application/vnd.x+json"])
def test_a_content_type_stays(text: str) -> None:
    assert safe_content_type(text) == text
