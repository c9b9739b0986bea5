"""Server-sent events come out of a parser as they went in."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchboard_gateway.rest.events import Pieces, encode_event
from switchboard_wire.limits import MAX_DATA_BYTES


def parse(stream: bytes) -> list[tuple[str, str]]:
    """(event, data) as the HTML standard's algorithm reads them."""
    found = []
    event, data = "message", None
    for line in stream.decode().replace("\r\n", "\n").replace("\r", "\n").split("\n"):
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not line:
            if data is not None:
                found.append((event, data))
            event, data = "message", None
        elif name == "event":
            event = value
        elif name == "data":
            data = value if data is None else f"{data}\n{value}"
    return found


@given(st.lists(st.text(), max_size=5))
def test_data_survives_but_for_the_kind_of_its_line_ends(texts: list[str]) -> None:
    stream = b"".join(encode_event(text) for text in texts)
    assert parse(stream) == [("message", text.replace("\r\n", "\n").replace("\r", "\n")) for text in texts]


def test_an_event_cannot_be_forged_by_its_data() -> None:
    assert parse(encode_event("x\n\nevent: done\ndata: y", "error")) == [("error", "x\n\nevent: done\ndata: y")]


@given(st.text(), st.data())
def test_a_character_that_is_cut_in_two_comes_whole(text: str, data: st.DataObject) -> None:
    text = text.replace("\r", "")
    whole = text.encode()
    cut = data.draw(st.integers(0, len(whole)))
    pieces = Pieces()
    stream = pieces.encode(whole[:cut], "text/plain") + pieces.encode(whole[cut:], "") + pieces.finish()
    assert "".join(found for _, found in parse(stream)) == text


def test_what_is_no_text_is_base64() -> None:
    assert parse(Pieces().encode(b"\x00\xff", "image/png")) == [("bytes", base64.b64encode(b"\x00\xff").decode())]


@pytest.mark.parametrize("content_type", ["application/json", "image/png"])
def test_a_piece_of_several_frames_is_one_event(content_type: str) -> None:
    whole = b"[" + b"1," * MAX_DATA_BYTES + b"1]"
    pieces = Pieces()
    stream = b"".join(
        pieces.encode(whole[start : start + MAX_DATA_BYTES], content_type)
        for start in range(0, len(whole), MAX_DATA_BYTES)
    )
    (_, data), *others = parse(stream + pieces.finish())
    assert others == []
    assert data == (whole.decode() if "json" in content_type else base64.b64encode(whole).decode())


def test_a_character_that_never_ends_is_replaced() -> None:
    pieces = Pieces()
    assert parse(pieces.encode("é".encode()[:1], "text/plain") + pieces.finish()) == [
        ("message", "\N{REPLACEMENT CHARACTER}")
    ]


@pytest.mark.parametrize("content_type", ["text/plain", "image/png"])
def test_an_empty_piece_is_no_event(content_type: str) -> None:
    assert Pieces().encode(b"", content_type) == b""
