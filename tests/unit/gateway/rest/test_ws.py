"""The JSON of WebSocket messages, read and written."""

import base64
import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchboard_gateway.rest.sockets import check_origin
from switchboard_gateway.rest.ws_read import (
    MAX_CALL,
    MAX_PAYLOAD,
    BrokenRule,
    Message,
    read_data,
    read_message,
    read_open,
)
from switchboard_gateway.rest.ws_write import Output, close_failed
from switchboard_wire.errors import ErrorValue, InvalidMessage, SwitchboardError
from switchboard_wire.limits import MAX_DATA_BYTES
from switchboard_wire.v1 import frames_pb2 as pb

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
KINDS = ["HELLO", "OPEN", "DATA", "WINDOW", "HALF_CLOSE", "CANCEL", "PING"]
MEMBERS = [
    *("target", "input", "data", "contentType", "dataType", "end", "metadata", "timeoutMs", "idempotencyKey"),
    *("strategy", "method", "reply", "ack", "priority", "id", "traceparent", "manualCredit", "credit", "number"),
]


def message(**members: object) -> Message:
    return read_message(json.dumps({"kind": "OPEN", "call": 1, **members}))


def opened(**members: object) -> pb.Frame:
    [frame] = read_open(message(**{"target": "echo", **members})).frames
    return frame


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        pytest.param("", 1007, "JSON object", id="nothing"),
        pytest.param("[]", 1007, "JSON object", id="no object"),
        pytest.param('{"kind": "OPEN", "kind": "OPEN"}', 1007, "given twice", id="a member twice"),
        pytest.param("{}", 1002, "kind must be one of HELLO, OPEN", id="no kind"),
        pytest.param('{"kind": "CLOSE", "call": 1}', 1002, "kind must be", id="a kind that is the gateway's"),
        pytest.param('{"kind": ["OPEN"]}', 1002, "kind must be", id="a kind that is a list"),
        pytest.param('{"kind": "OPEN"}', 1002, "call must be", id="no call"),
        pytest.param('{"kind": "OPEN", "call": true}', 1002, "call must be", id="a call that is a boolean"),
        pytest.param('{"kind": "DATA", "call": 0}', 1002, "call must be", id="call 0"),
        pytest.param(f'{{"kind": "DATA", "call": {MAX_CALL + 1}}}', 1002, "call must be", id="a call that is too high"),
        pytest.param('{"a": ' + "[" * 100_000, 1007, "nested too deeply", id="deep nesting"),
        pytest.param('{"kind": "\udc00"}', 1007, "UTF-8", id="half a character"),
    ],
)
def test_what_is_no_frame_breaks_the_rules(text: str, code: int, words: str) -> None:
    with pytest.raises(BrokenRule, match=words) as caught:
        read_message(text)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("echo", pb.Target(type="echo")),
        ("echo/a b", pb.Target(type="echo", key="a b")),
        ("capability:shout", pb.Target(capability="shout")),
        (
            {"capability": "shout", "version": ">=1", "key": "k"},
            pb.Target(capability="shout", version_range=">=1", key="k"),
        ),
        ({"topic": "news", "source": "s", "namespace": "n"}, pb.Target(topic="news", topic_source="s", namespace="n")),
        ({"type": "echo", "instances": "all"}, pb.Target(type="echo", all_instances=True)),
    ],
)
def test_targets(target: object, expected: pb.Target) -> None:
    assert opened(target=target).open.target == expected


@pytest.mark.parametrize(
    ("members", "data", "content_type"),
    [
        ({}, b"", ""),
        ({"input": "hällo"}, "hällo".encode(), "text/plain"),
        ({"input": {"a": [1.50]}}, b'{"a": [1.5]}', "application/json"),
        ({"input": None}, b"null", "application/json"),
        ({"input": "# x", "contentType": "text/markdown"}, b"# x", "text/markdown"),
        ({"data": "/wA="}, b"\xff\x00", "application/octet-stream"),
        ({"data": "e30=", "contentType": "application/json"}, b"{}", "application/json"),
    ],
)
def test_payloads(members: dict[str, Any], data: bytes, content_type: str) -> None:
    frame = opened(**members)
    assert (frame.data, frame.content_type, frame.end) == (data, content_type, True)


def test_numbers_keep_their_digits() -> None:
    text = '{"kind": "OPEN", "call": 1, "target": "echo", "input": 0.10000000000000000000001}'
    [frame] = read_open(read_message(text)).frames
    assert frame.data == b"0.10000000000000000000001"


def test_options_reach_the_open() -> None:
    given = opened(
        metadata={"a": "b"}, timeoutMs=50, idempotencyKey="k", strategy="Random", method="m", reply="none",
        ack="accepted", priority=-2, id="m-1", conversationId="c",
    )  # fmt: skip
    assert given.open == pb.Open(
        target=pb.Target(type="echo"), headers={"a": "b"}, deadline_ms=50, idempotency_key="k", idempotent=True,
        strategy="Random", method="m", reply=pb.REPLY_NONE, ack=pb.ACK_ACCEPTED, priority=-2, message_id="m-1",
        conversation_id="c",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("members", "words"),
    [
        pytest.param({"target": None}, "target must be", id="no target"),
        pytest.param({"target": "Echo"}, "no agent type", id="no type"),
        pytest.param({"target": {}}, "name one of", id="an empty target"),
        pytest.param({"target": {"type": "a", "topic": "b"}}, "name one of", id="two targets"),
        pytest.param({"target": {"tpye": "a"}}, "is not known", id="a typo in the target"),
        pytest.param({"target": {"type": 1}}, "must be text", id="a type that is a number"),
        pytest.param({"target": {"type": "a", "instances": "1"}}, "say all", id="a number of instances"),
        pytest.param({"imput": 1}, "no member of OPEN", id="a typo"),
        pytest.param({"input": 1, "data": ""}, "keep one", id="two payloads"),
        pytest.param({"data": "?"}, "no base64", id="no base64"),
        pytest.param({"metadata": {"a": 1}}, "must be text", id="metadata that is a number"),
        pytest.param({"timeoutMs": 0}, "whole number", id="no time"),
        pytest.param({"end": 1}, "true or false", id="end as a number"),
        pytest.param({"reply": "maybe"}, "result or none", id="a reply that there is none of"),
        pytest.param({"id": "x" * 300}, "over 256", id="a long id"),
        pytest.param({"input": "x" * (MAX_PAYLOAD + 1)}, "send the rest as DATA", id="a large payload"),
    ],
)
def test_an_open_that_is_wrong_says_what_is(members: dict[str, Any], words: str) -> None:
    with pytest.raises(SwitchboardError, match=words):
        read_open(message(**{"target": "echo", **members}))


@pytest.mark.parametrize("size", [MAX_DATA_BYTES, MAX_DATA_BYTES + 1, MAX_PAYLOAD])
@pytest.mark.parametrize("end", [True, False])
def test_a_payload_of_several_frames_comes_whole_and_ends_once(size: int, end: bool) -> None:
    frames = read_open(message(target="echo", input="x" * size, end=end)).frames
    assert b"".join(frame.data for frame in frames) == b"x" * size
    assert [frame.end for frame in frames] == [False] * (len(frames) - 1) + [end]
    assert all(len(frame.data) <= MAX_DATA_BYTES for frame in frames)


def test_data_without_payload_may_end_the_request() -> None:
    def kinds(**members: object) -> list[int]:
        return [frame.kind for frame in read_data(read_message(json.dumps({"kind": "DATA", "call": 1, **members})))]

    assert kinds(end=True) == [pb.HALF_CLOSE]
    assert kinds() == []
    assert kinds(input="x") == [pb.DATA]


@given(st.text() | JSON.map(json.dumps))
def test_no_text_does_more_than_break_the_rules(text: str) -> None:
    with contextlib.suppress(BrokenRule):
        read_message(text)


@given(st.sampled_from(KINDS), st.dictionaries(st.sampled_from(MEMBERS), JSON, max_size=5))
def test_no_members_do_more_than_be_refused(kind: str, members: dict[str, Any]) -> None:
    read = read_message(json.dumps({"kind": kind, "call": 1, **members}))
    for reader in (read_open, read_data):
        with contextlib.suppress(InvalidMessage):
            reader(read)


def answer(*frames: pb.Frame) -> list[dict[str, Any]]:
    output = Output(3)
    *pieces, last = frames
    texts = [output.piece(frame) for frame in pieces]
    texts.append(output.close(last, pb.Open(message_id="m", agent="echo")))
    return [json.loads(text) for text in texts]


def data(payload: bytes, content_type: str = "text/plain") -> pb.Frame:
    return pb.Frame(kind=pb.DATA, data=payload, content_type=content_type)


def test_a_whole_answer_is_one_close() -> None:
    close = pb.Frame(kind=pb.CLOSE, data=b'{"a": 1}', content_type="application/json", instance="i", processing_us=1500)
    assert answer(close) == [
        {
            "kind": "CLOSE", "call": 3, "id": "m", "agent": "echo", "instance": "i", "processingMs": 1.5,
            "output": {"a": 1}, "contentType": "application/json",
        }
    ]  # fmt: skip


def test_text_that_is_cut_inside_of_a_character_comes_whole() -> None:
    whole = "ü".encode()
    first, second, close = answer(data(b"a" + whole[:1]), data(whole[1:]), pb.Frame(kind=pb.CLOSE))
    assert (first["output"], second["output"], "output" in close) == ("a", "ü", False)
    assert (first["bytes"], second["bytes"]) == (2, 1)


def test_a_value_that_is_cut_comes_as_bytes_that_join() -> None:
    value = json.dumps("x" * (2 * MAX_DATA_BYTES)).encode()
    parts = [value[at : at + MAX_DATA_BYTES] for at in range(0, len(value), MAX_DATA_BYTES)]
    frames = [data(part, "application/json") for part in parts[:-1]]
    told = answer(*frames, pb.Frame(kind=pb.CLOSE, data=parts[-1], content_type="application/json"))
    assert [one.get("more", False) for one in told] == [True, True, False]
    assert b"".join(base64.b64decode(one["data"]) for one in told) == value


@pytest.mark.parametrize("ends", [True, False], ids=["at the end", "before another"])
def test_a_value_that_fills_its_frames_is_ended_by_an_empty_one(ends: bool) -> None:
    value = json.dumps("x" * (MAX_DATA_BYTES - 2)).encode()
    after = [] if ends else [data(b"", "application/json"), data(b"7", "application/json")]
    first, last, *others = answer(data(value, "application/json"), *after, pb.Frame(kind=pb.CLOSE))
    assert (base64.b64decode(first["data"]), first["more"]) == (value, True)
    assert (last["data"], "more" in last) == ("", False)
    assert [one.get("output") for one in others] == ([] if ends else [7, None])


def test_json_that_is_none_comes_as_bytes() -> None:
    [close] = answer(pb.Frame(kind=pb.CLOSE, data=b'{"a', content_type="application/json"))
    assert base64.b64decode(close["data"]) == b'{"a'


@given(
    st.lists(st.binary(min_size=1, max_size=20), max_size=5),
    st.sampled_from(["text/plain", "application/json", "a/b", ""]),
)
def test_whatever_an_agent_answers_is_json(parts: list[bytes], content_type: str) -> None:
    told = answer(*[data(part, content_type) for part in parts], pb.Frame(kind=pb.CLOSE))
    assert [one["bytes"] for one in told[:-1]] == [len(part) for part in parts]


def test_an_error_is_a_row_of_the_table() -> None:
    error = ErrorValue(pb.OVERLOADED, "full", 250, pb.DELIVERED_NO, {"a": "b"})
    assert json.loads(close_failed(7, "m", error)) == {
        "kind": "CLOSE",
        "call": 7,
        "id": "m",
        "error": {
            "code": "OVERLOADED", "message": "full", "status": 429, "delivered": "NO", "retryAfterMs": 250,
            "details": {"a": "b"},
        },
    }  # fmt: skip


@pytest.mark.parametrize("origin", ["", "http://gateway:8080", "https://GATEWAY:8080"])
def test_the_gateways_own_pages_and_programs_may_connect(origin: str) -> None:
    check_origin(origin, "gateway:8080")


@pytest.mark.parametrize(
    "origin", ["null", "http://evil.example", "http://gateway", "http://gateway:8080.evil.example"]
)
def test_pages_of_other_origins_may_not(origin: str) -> None:
    with pytest.raises(SwitchboardError, match="another origin"):
        check_origin(origin, "gateway:8080")
