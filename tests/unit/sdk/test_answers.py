"""Pieces become values, and values become one answer."""

from typing import Any

import pytest

from switchboard.answers import PieceReader, join_pieces
from switchboard_wire.limits import MAX_DATA_BYTES
from switchboard_wire.v1 import frames_pb2 as pb

FULL = b"x" * MAX_DATA_BYTES
JSON = "application/json"


def data(payload: bytes, content_type: str) -> pb.Frame:
    return pb.Frame(kind=pb.DATA, data=payload, content_type=content_type)


STREAMS: list[Any] = [
    pytest.param([data(b"a", "text/plain"), data(b"b", "text/plain")], ["a", "b"], id="text as it comes"),
    pytest.param([data(b"\xc3", "text/plain"), data(b"\xa9", "text/plain")], ["é"], id="a character cut in two"),
    pytest.param([data(b'{"a":1}', JSON), data(b"2", JSON)], [{"a": 1}, 2], id="JSON values"),
    pytest.param([data(FULL, ""), data(b"y", "")], [FULL + b"y"], id="a large piece in two frames"),
    pytest.param([data(FULL, ""), data(b"", ""), data(b"y", "")], [FULL, b"y"], id="a piece of exactly one frame"),
]


@pytest.mark.parametrize(("frames", "values"), STREAMS)
def test_frames_become_values(frames: list[pb.Frame], values: list[Any]) -> None:
    reader = PieceReader()
    assert [value for frame in frames for value in reader.read(frame)] + reader.rest(frames[-1].content_type) == values


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
