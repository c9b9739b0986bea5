"""Server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html). Pure."""

import base64
import codecs
import re
from typing import Final

from switchboard_gateway.rest.answers import is_textual, media_type

EVENT_STREAM: Final = "text/event-stream"
COMMENT: Final = b":\n\n"  # keeps proxies from closing a silent stream
_LINE_END: Final = re.compile(r"\r\n|\r|\n")


def encode_event(data: str, event: str = "") -> bytes:
    """One event. Every line of data gets a field of its own, so nothing in it can end the event or begin another."""
    head = f"event: {event}\n" if event else ""
    lines = "".join(f"data: {line}\n" for line in _LINE_END.split(data))
    return f"{head}{lines}\n".encode()


class Pieces:
    """Turns the pieces of one answer into events: text and JSON as they are, other bytes as event `bytes` in base64.

    A character that is cut in two by the end of a piece comes whole, with the next one.
    """

    __slots__ = ("_decoder", "_kind")

    def __init__(self) -> None:
        self._kind = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def encode(self, data: bytes, content_type: str) -> bytes:
        """The event of one piece; no bytes when there is nothing to tell yet. The first content type holds for all."""
        self._kind = self._kind or media_type(content_type)
        if not data:
            return b""
        if not is_textual(self._kind):
            return encode_event(base64.b64encode(data).decode(), "bytes")
        text = self._decoder.decode(data)
        return encode_event(text) if text else b""

    def finish(self) -> bytes:
        """What is left of a character that was never completed."""
        text = self._decoder.decode(b"", final=True)
        return encode_event(text) if text else b""
