"""Server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html). Pure."""

import base64
import codecs
import re
from typing import Final

from switchboard_gateway.rest.answers import is_textual, media_type
from switchboard_wire.limits import MAX_DATA_BYTES

EVENT_STREAM: Final = "text/event-stream"
COMMENT: Final = b":\n\n"  # keeps proxies from closing a silent stream
# A piece of more than 8 MB comes in parts: an event stream is no place to gather it
MAX_HELD_FRAMES: Final = 64
_LINE_END: Final = re.compile(r"\r\n|\r|\n")


def encode_event(data: str, event: str = "") -> bytes:
    """One event. Every line of data gets a field of its own, so nothing in it can end the event or begin another."""
    head = f"event: {event}\n" if event else ""
    lines = "".join(f"data: {line}\n" for line in _LINE_END.split(data))
    return f"{head}{lines}\n".encode()


class Pieces:
    """Turns the pieces of one answer into events: text and JSON as they are, other bytes as event `bytes` in base64.

    Text goes out at once; a character that is cut in two by the end of a frame comes whole, with the next one. Of other
    types a piece is one event whatever its size: a full frame says that more of its piece follows.
    """

    __slots__ = ("_decoder", "_held", "_kind")

    def __init__(self) -> None:
        self._held: list[bytes] = []
        self._kind = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def encode(self, data: bytes, content_type: str) -> bytes:
        """The event of one frame; no bytes when there is nothing to tell yet. The first content type holds for all."""
        self._kind = self._kind or media_type(content_type)
        if self._kind.startswith("text/"):
            return _text_event(self._decoder.decode(data))
        self._held.append(data)
        if len(data) == MAX_DATA_BYTES and len(self._held) < MAX_HELD_FRAMES:
            return b""
        return self._release()

    def finish(self) -> bytes:
        """What is left: a piece, or a character that was never completed."""
        return self._release() + _text_event(self._decoder.decode(b"", final=True))

    def _release(self) -> bytes:
        data = b"".join(self._held)
        self._held = []
        if not data:
            return b""
        if is_textual(self._kind):
            return encode_event(data.decode("utf-8", "replace"))
        return encode_event(base64.b64encode(data).decode(), "bytes")


def _text_event(text: str) -> bytes:
    return encode_event(text) if text else b""
