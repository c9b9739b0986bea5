"""What callers get: a whole answer, or one that comes in pieces."""

import codecs
from collections.abc import AsyncIterator, Mapping
from typing import Any, TypeVar

from switchboard.content import JSON, decode, decode_json, decode_text, is_json, is_text
from switchboard.typed import converter_of
from switchboard_wire.calls import Payload
from switchboard_wire.limits import MAX_DATA_BYTES
from switchboard_wire.v1 import frames_pb2 as pb

T = TypeVar("T")


class Answer:
    """One answer. Read it as `text`, `data`, `value` (by its content type), or `into(Type)`."""

    __slots__ = ("_frame", "message_id")

    def __init__(self, frame: pb.Frame, message_id: str) -> None:
        self._frame = frame
        self.message_id = message_id

    @property
    def data(self) -> bytes:
        return self._frame.data

    @property
    def content_type(self) -> str:
        return self._frame.content_type

    @property
    def text(self) -> str:
        return decode_text(self._frame.data)

    @property
    def value(self) -> Any:
        """str for text, what the JSON holds, otherwise bytes; None when the answer is empty."""
        return decode(self._frame.data, self._frame.content_type)

    def into(self, type_: type[T]) -> T:
        """The answer as a dataclass, a pydantic model or another type. Raises ValidationFailed with the field."""
        value: T = converter_of(type_)(self._frame.data, self._frame.content_type)
        return value

    @property
    def instance(self) -> str:
        """Name of the instance that answered; empty when the answer never left its pod."""
        return self._frame.instance

    @property
    def headers(self) -> Mapping[str, str]:
        return self._frame.headers

    @property
    def processing_s(self) -> float:
        """Seconds that the handler took."""
        return self._frame.processing_us / 1e6

    def to_payload(self) -> Payload:
        frame = self._frame
        return Payload(frame.data, frame.content_type, frame.data_type)

    def __repr__(self) -> str:
        size = len(self._frame.data)
        return f"<Answer {self.content_type or 'empty'}, {size} bytes, by {self.instance or 'this pod'}>"


def join_pieces(pieces: list[pb.Frame], close: pb.Frame) -> pb.Frame:
    """One CLOSE with all of an answer that came in pieces; several JSON values become an array."""
    content_type = pieces[0].content_type or close.content_type
    values = _values_of(pieces, close) if is_json(content_type) else []
    if len(values) > 1:
        close.data, close.content_type = b"[" + b",".join(values) + b"]", JSON
    else:
        close.data = b"".join([*[piece.data for piece in pieces], close.data])
        close.content_type = content_type
    return close


def _values_of(pieces: list[pb.Frame], close: pb.Frame) -> list[bytes]:
    """The values of an answer, as PieceReader finds them, each whole."""
    values: list[bytes] = []
    held: list[bytes] = []
    for frame in [*pieces, close]:
        held.append(frame.data)
        if _is_cut(frame):
            continue
        value = b"".join(held)
        if value:
            values.append(value)
        held = []
    return values


def _is_cut(frame: pb.Frame) -> bool:
    """Whether the next frame continues the value that this one ends with: so does a full one, if it is not the last."""
    return len(frame.data) == MAX_DATA_BYTES and frame.kind != pb.CLOSE


class PieceReader:
    """Turns the frames of an answer into values.

    A DATA of exactly MAX_DATA_BYTES is continued by the next frame, be it empty or the CLOSE, so a value of any size is
    one piece. Text may be cut anywhere, also inside of a character.
    """

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._content_type = ""
        self._text = codecs.getincrementaldecoder("utf-8")("replace")

    def read(self, frame: pb.Frame) -> list[Any]:
        """The values that are complete with this DATA or CLOSE: none or one."""
        if is_text(frame.content_type):
            text = self._text.decode(frame.data)
            return [text] if text else []
        if not self._parts:
            self._content_type = frame.content_type
        self._parts.append(frame.data)
        if _is_cut(frame):
            return []
        data = b"".join(self._parts)
        self._parts = []
        if not data:
            return []
        return [decode_json(data) if is_json(self._content_type) else data]


class AnswerStream:
    """The pieces of an answer, as values: `async for piece in stream`. Leaving the loop early cancels the call.

    answer: what came with the end, once it has come.
    """

    def __init__(self, pieces: AsyncIterator[Any]) -> None:
        self._pieces = pieces
        self.answer: Answer | None = None

    def __aiter__(self) -> "AnswerStream":
        return self

    async def __anext__(self) -> Any:
        return await anext(self._pieces)

    async def __aenter__(self) -> "AnswerStream":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Give the rest up; the handler is cancelled."""
        close = getattr(self._pieces, "aclose", None)
        if close is not None:
            await close()
