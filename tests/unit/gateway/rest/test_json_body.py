"""The body of an execution: taken as it was written, or refused with the place and the remedy."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchboard_gateway.rest.json_body import JSON, TEXT, Execution, is_json, is_text, read_execution, read_object
from switchboard_wire.calls import Payload
from switchboard_wire.errors import SwitchboardError

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


def refusal(body: bytes) -> str:
    with pytest.raises(SwitchboardError) as caught:
        read_execution(body)
    assert caught.value.code == "VALIDATION_FAILED"
    return caught.value.message


@pytest.mark.parametrize(
    ("body", "payload"),
    [
        pytest.param('{"input": "hällo"}', Payload("hällo".encode(), TEXT), id="a string goes as text"),
        pytest.param('{"input": ""}', Payload(b"", TEXT), id="an empty string is text"),
        pytest.param('{"input": "a\\nb\\u00e9"}', Payload("a\nbé".encode(), TEXT), id="escapes are resolved in text"),
        pytest.param('{"input": null}', Payload(b"null", JSON), id="null is a value"),
        pytest.param('{"input": 1.10}', Payload(b"1.10", JSON), id="a number keeps its digits"),
        pytest.param('{"input": 1e999}', Payload(b"1e999", JSON), id="a number may be beyond a float"),
        pytest.param('{"input": 123456789012345678901}', Payload(b"123456789012345678901", JSON), id="or an int64"),
        pytest.param(
            '{"input": {"b": [1, 2],  "a": "x"}}', Payload(b'{"b": [1, 2],  "a": "x"}', JSON), id="as written"
        ),
        pytest.param(' {\n"input"\t:\r[ ] } \n', Payload(b"[ ]", JSON), id="space does not matter"),
        pytest.param('{"input": "\\ud83d\\ude00"}', Payload("😀".encode(), TEXT), id="a surrogate pair is a character"),
    ],
)
def test_input_becomes_the_payload(body: str, payload: Payload) -> None:
    assert read_execution(body.encode()).payload == payload


def test_metadata_and_timeout_are_read() -> None:
    found = read_execution(b'{"metadata": {"language": "en"}, "timeoutMs": 250, "input": 1}')
    assert (dict(found.metadata), found.timeout_ms) == ({"language": "en"}, 250)


def test_null_stands_for_what_is_left_out() -> None:
    found = read_execution(b'{"metadata": null, "timeoutMs": null, "input": 1}')
    assert (dict(found.metadata), found.timeout_ms) == ({}, 0)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        pytest.param(b"", "must be a JSON object", id="nothing"),
        pytest.param(b"[1]", "must be a JSON object", id="a list"),
        pytest.param(b'"x"', "must be a JSON object", id="a string"),
        pytest.param(b"hello", "Expecting value at line 1 column 1", id="no JSON at all"),
        pytest.param(b'{"input": nope}', "Expecting value at line 1 column 11", id="a word"),
        pytest.param(b'{"input": 1,\n "metadata" {}}', "Expecting ':' at line 2 column 13", id="a colon is missing"),
        pytest.param(
            b'{"input": 1 "timeoutMs": 2}', "Expecting ',' or '}' at line 1 column 13", id="a comma is missing"
        ),
        pytest.param(
            b'{"input": 1,}', "Expecting a member's name in double quotes at line 1 column 13", id="a comma more"
        ),
        pytest.param(b"{input: 1}", "Expecting a member's name in double quotes at line 1 column 2", id="no quotes"),
        pytest.param(b'{"input": 1}}', "Extra data at line 1 column 13", id="a brace more"),
        pytest.param(b'{"input": 1', "Expecting ',' or '}' at line 1 column 12", id="it breaks off after a value"),
        pytest.param(b'{"input": "x', "Unterminated string", id="it breaks off in a string"),
        pytest.param(b'{"input": \xff}', "byte 10 is not UTF-8", id="no UTF-8"),
        pytest.param(b'{"input": NaN}', "NaN is no JSON number", id="NaN"),
        pytest.param(b'{"input": -Infinity}', "-Infinity is no JSON number", id="infinity"),
        pytest.param(b'{"input": ' + b"1" * 5000 + b"}", "the body is no JSON", id="a number of 5000 digits"),
        pytest.param(b'{"input": ' + b"[" * 100_000, "nested too deeply", id="a hundred thousand brackets"),
        pytest.param(b'{"input": "\\ud800"}', "half of a surrogate pair", id="half a character"),
        pytest.param(b"{}", "input is missing", id="no input"),
        pytest.param(b'{"input": 1, "input": 2}', "'input' is given twice", id="input twice"),
        pytest.param(b'{"inputs": 1}', "'inputs' is no member of this body: input, metadata, timeoutMs", id="a typo"),
        pytest.param(b'{"input": 1, "metadata": []}', "metadata must be an object of strings", id="metadata is a list"),
        pytest.param(b'{"input": 1, "metadata": {"n": 1}}', "metadata.n must be a string", id="metadata with a number"),
        pytest.param(b'{"input": 1, "metadata": {"n": "\\udc00"}}', "half of a surrogate pair", id="half in metadata"),
        pytest.param(b'{"input": 1, "timeoutMs": 0}', "timeoutMs must be a whole number", id="no time at all"),
        pytest.param(b'{"input": 1, "timeoutMs": 1.5}', "timeoutMs must be a whole number", id="half a millisecond"),
        pytest.param(b'{"input": 1, "timeoutMs": true}', "timeoutMs must be a whole number", id="a truth as time"),
        pytest.param(b'{"input": 1, "timeoutMs": 99999999999}', "timeoutMs must be a whole number", id="years"),
    ],
)
def test_a_wrong_body_is_refused_with_its_place(body: bytes, words: str) -> None:
    assert words in refusal(body)


@given(st.dictionaries(st.text(), VALUES, max_size=5), st.sampled_from([None, 2]))
def test_every_object_is_read_as_json_reads_it(given_object: dict[str, object], indent: int | None) -> None:
    text = json.dumps(given_object, indent=indent)
    found = read_object(text.encode())
    assert {name: value.value for name, value in found.items()} == given_object
    assert {name: json.loads(value.text) for name, value in found.items()} == given_object


@given(st.binary(max_size=64) | st.text(alphabet='{}[]":,\\ u0d1e-tn', max_size=30).map(str.encode))
def test_what_json_refuses_is_refused_and_nothing_else_is_raised(body: bytes) -> None:
    found = outcome(body)
    if found != parsed(body):
        assert isinstance(found, str)
        assert found.startswith(("the body is no JSON", "the body must be a JSON object")) or "given twice" in found
        assert "given twice" in found or not isinstance(parsed(body), dict)


SPACES = st.text(alphabet=" \t\r\n", max_size=2)


@given(st.tuples(SPACES, SPACES, SPACES, SPACES, SPACES, SPACES), st.text(alphabet='x"\\u0d83e },:', max_size=12))
def test_a_text_alone_is_read_as_among_other_members(spaces: tuple[str, ...], written: str) -> None:
    a, b, c, d, e, f = spaces
    body = f'{a}{{{b}"input"{c}:{d}"{written}"{e}}}{f}'.encode()
    found = outcome(body)
    text = found.get("input") if isinstance(found, dict) else None
    if isinstance(found, dict) and list(found) == ["input"] and isinstance(text, str) and is_text(text):
        assert read_execution(body) == Execution(Payload(text.encode(), TEXT))
    elif isinstance(found, str):
        assert refusal(body) == found
    else:
        refusal(body)


def outcome(body: bytes) -> object:
    try:
        return {name: value.value for name, value in read_object(body).items()}
    except SwitchboardError as error:
        return error.message


def parsed(body: bytes) -> object:
    try:
        return json.loads(body.decode())
    except ValueError:
        return None


@pytest.mark.parametrize(("text", "expected"), [("1", True), ("NaN", False), ("", False), ("[" * 100_000, False)])
def test_json_is_told_from_what_only_looks_like_it(text: str, expected: bool) -> None:
    assert is_json(text) is expected
