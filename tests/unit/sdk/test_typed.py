"""Payloads to what annotations name, and values to payloads."""

import datetime
import enum
from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import BaseModel

from switchboard import Payload, ValidationFailed
from switchboard.content import decode, encode
from switchboard.typed import converter_of

JSON = "application/json"
TEXT = "text/plain"


class Model(BaseModel):
    name: str
    size: int = 1


@dataclass
class Inner:
    at: datetime.date


@dataclass
class Outer:
    inner: Inner
    tags: list[str]


class Color(enum.Enum):
    RED = "red"


READS = [
    pytest.param(str, b"text", TEXT, "text", id="text as str"),
    pytest.param(str, b'"text"', JSON, "text", id="a JSON string as str"),
    pytest.param(str, b"raw", "", "raw", id="bytes without a type as str"),
    pytest.param(bytes, b'{"a":1}', JSON, b'{"a":1}', id="anything as bytes"),
    pytest.param(dict, b'{"a":1}', JSON, {"a": 1}, id="a JSON object as dict"),
    pytest.param(dict, b'{"a":1}', TEXT, {"a": 1}, id="text that is JSON as dict"),
    pytest.param(list, b"[1]", JSON, [1], id="a JSON array as list"),
    pytest.param(float, b"2", JSON, 2.0, id="a whole number as float"),
    pytest.param(list[int], b'["1",2]', JSON, [1, 2], id="a typed list"),
    pytest.param(Model, b'{"name":"x"}', JSON, Model(name="x"), id="a model"),
    pytest.param(Outer, b'{"inner":{"at":"2026-11-21"},"tags":[]}', JSON, Outer(Inner(datetime.date(2026, 11, 21)), []),
                 id="dataclasses within each other"),
    pytest.param(str | None, b"null", JSON, None, id="a union"),
    pytest.param(str | None, b"text", TEXT, "text", id="text for a union"),
    pytest.param(Any, b"[1]", JSON, [1], id="anything, by its content type"),
    pytest.param(None, b"ignored", TEXT, None, id="nothing"),
]  # fmt: skip


@pytest.mark.parametrize(("annotation", "data", "content_type", "expected"), READS)
def test_a_payload_becomes_what_the_annotation_says(
    annotation: Any, data: bytes, content_type: str, expected: object
) -> None:
    assert converter_of(annotation)(data, content_type) == expected


FAULTS = [
    pytest.param(str, b'{"a":1}', JSON, "", "takes text, the payload is JSON object", id="an object for str"),
    pytest.param(str, b"\xff", TEXT, "", "not UTF-8", id="octets for str"),
    pytest.param(dict, b"hello", TEXT, "", "takes a JSON object, the payload is text", id="text for dict"),
    pytest.param(dict, b"[1]", JSON, "", "takes a JSON object, the payload is JSON array", id="an array for dict"),
    pytest.param(int, b"true", JSON, "", "takes a whole number", id="true for int"),
    pytest.param(dict, b"{", JSON, "", "not JSON", id="broken JSON"),
    pytest.param(Model, b"{}", JSON, "name", "name: Field required", id="a member that is missing"),
    pytest.param(Model, b'{"name":"x","size":"big"}', JSON, "size", "size: ", id="a member of the wrong type"),
    pytest.param(Outer, b'{"inner":{"at":"soon"},"tags":[]}', JSON, "inner.at", "inner.at: ", id="a member inside"),
]


@pytest.mark.parametrize(("annotation", "data", "content_type", "field", "message"), FAULTS)
def test_a_payload_that_does_not_fit_is_refused_with_its_field(
    annotation: Any, data: bytes, content_type: str, field: str, message: str
) -> None:
    with pytest.raises(ValidationFailed) as caught:
        converter_of(annotation)(data, content_type)
    assert message in caught.value.message
    assert caught.value.error.details.get("field", "") == field


def test_a_type_that_cannot_be_read_is_refused_at_once() -> None:
    class Opaque:
        pass

    with pytest.raises(TypeError, match="cannot be read as"):
        converter_of(Opaque)


WRITES = [
    pytest.param("é", Payload("é".encode(), TEXT), id="str"),
    pytest.param(b"\x00", Payload(b"\x00", "application/octet-stream"), id="bytes"),
    pytest.param(None, Payload(), id="None"),
    pytest.param({"é": [1]}, Payload('{"é":[1]}'.encode(), JSON), id="dict"),
    pytest.param(Model(name="x"), Payload(b'{"name":"x","size":1}', JSON), id="a model"),
    pytest.param([Outer(Inner(datetime.date(2026, 1, 2)), ["t"])],
                 Payload(b'[{"inner":{"at":"2026-01-02"},"tags":["t"]}]', JSON), id="dataclasses in a list"),
    pytest.param({"c": Color.RED, "s": {1}}, Payload(b'{"c":"red","s":[1]}', JSON), id="an enum and a set"),
    pytest.param(Payload(b"x", "image/png"), Payload(b"x", "image/png"), id="a payload"),
]  # fmt: skip


@pytest.mark.parametrize(("value", "payload"), WRITES)
def test_a_value_becomes_a_payload(value: object, payload: Payload) -> None:
    assert encode(value) == payload


def test_what_json_cannot_hold_is_named() -> None:
    with pytest.raises(TypeError, match="object has no JSON form"):
        encode({"x": object()})


@pytest.mark.parametrize("value", ["", "text", {"a": None}, [], 0, False])
def test_decode_undoes_encode(value: object) -> None:
    payload = encode(value)
    assert decode(payload.data, payload.content_type) == value
