"""Pieces become values, and values become one answer."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from switchboard.answers import PieceReader, join_pieces
from switchboard_wire.limits import MAX_DATA_BYTES
from switchboard_wire.v1 import frames_pb2 as pb

FULL = b"x" * MAX_DATA_BYTES
JSON = "application/json"


def data(payload: bytes, content_type: str) -> pb.Frame:
    return pb.Frame(kind=pb.DATA, data=payload, content_type=content_type)


def closing(payload: bytes = b"", content_type: str = "") -> pb.Frame:
    return pb.Frame(kind=pb.CLOSE, data=payload, content_type=content_type)


def text_of(size: int) -> bytes:
    """A JSON string of so many bytes."""
    return b'"' + b"x" * (size - 2) + b'"'


def cut(value: bytes) -> list[pb.Frame]:
    """One value as a streaming handler sends it."""
    parts = [value[at : at + MAX_DATA_BYTES] for at in range(0, len(value), MAX_DATA_BYTES)]
    return [data(part, JSON) for part in (parts if len(parts[-1]) < MAX_DATA_BYTES else [*parts, b""])]


STREAMS: list[Any] = [
    pytest.param([data(b"a", "text/plain"), data(b"b", "text/plain")], ["a", "b"], id="text as it comes"),
    pytest.param([data(b"\xc3", "text/plain"), data(b"\xa9", "text/plain")], ["é"], id="a character cut in two"),
    pytest.param([data(b'{"a":1}', JSON), data(b"2", JSON)], [{"a": 1}, 2], id="JSON values"),
    pytest.param([data(FULL, ""), data(b"y", "")], [FULL + b"y"], id="a large piece in two frames"),
    pytest.param([data(FULL, ""), data(b"", ""), data(b"y", "")], [FULL, b"y"], id="a piece of exactly one frame"),
    pytest.param([data(FULL, ""), closing(b"y")], [FULL + b"y"], id="a large answer that ends with the CLOSE"),
    pytest.param([data(FULL, ""), closing()], [FULL], id="a full frame and the end"),
    pytest.param([closing(FULL)], [FULL], id="a full CLOSE"),
    pytest.param([data(b"1", JSON), closing(b"2", JSON)], [1, 2], id="one more value with the CLOSE"),
    pytest.param([data(b"1", JSON), data(b"", JSON), closing()], [1], id="nothing is no value"),
]


@pytest.mark.parametrize(("frames", "values"), STREAMS)
def test_frames_become_values(frames: list[pb.Frame], values: list[Any]) -> None:
    reader = PieceReader()
    assert [value for frame in frames for value in reader.read(frame)] == values


def test_text_pieces_are_joined_and_json_pieces_become_an_array() -> None:
    close = pb.Frame(kind=pb.CLOSE)
    joined = join_pieces([data(b"a ", "text/plain"), data(b"b", "text/plain")], close)
    assert (joined.data, joined.content_type) == (b"a b", "text/plain")
    close = pb.Frame(kind=pb.CLOSE)
    joined = join_pieces([data(b"1", JSON), data(b"2", JSON)], close)
    assert (joined.data, joined.content_type) == (b"[1,2]", JSON)


def test_one_large_json_value_stays_itself() -> None:
    value = b'"' + b"x" * MAX_DATA_BYTES + b'"'
    pieces = [data(value[:MAX_DATA_BYTES], JSON)]
    joined = join_pieces(pieces, pb.Frame(kind=pb.CLOSE, data=value[MAX_DATA_BYTES:], content_type=JSON))
    assert (joined.data, joined.content_type) == (value, JSON)


SIZES = st.sampled_from([2, 9, MAX_DATA_BYTES - 1, MAX_DATA_BYTES, MAX_DATA_BYTES + 1, 2 * MAX_DATA_BYTES])


@settings(max_examples=50, deadline=None)
@given(st.lists(SIZES, min_size=2, max_size=4), st.booleans())
def test_json_values_of_any_size_become_an_array(sizes: list[int], ends_with_one: bool) -> None:
    values = [text_of(size) for size in sizes]
    frames = [frame for value in values for frame in cut(value)]
    close = closing(b"7", JSON) if ends_with_one else closing()
    expected = [json.loads(value) for value in values] + [7] * ends_with_one
    reader = PieceReader()
    assert [value for frame in (*frames, close) for value in reader.read(frame)] == expected
    assert json.loads(join_pieces(frames, close).data) == expected


@pytest.mark.parametrize("size", [2, MAX_DATA_BYTES, MAX_DATA_BYTES + 1, 2 * MAX_DATA_BYTES])
def test_one_json_value_of_a_handler_that_streams_stays_itself(size: int) -> None:
    joined = join_pieces(cut(text_of(size)), closing())
    assert (joined.data, joined.content_type) == (text_of(size), JSON)
