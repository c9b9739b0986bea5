"""The JSON body of an execution: what it says, or what is wrong with it and where. Pure.

`input` is passed on as it was written: the text of its value is cut out of the body, so that no number loses digits.
"""

import json
import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple, NoReturn

from switchboard_wire.calls import Payload
from switchboard_wire.errors import SwitchboardError, failure
from switchboard_wire.v1 import frames_pb2 as pb

TEXT: Final = "text/plain"
JSON: Final = "application/json"
MAX_TIMEOUT_MS: Final = 24 * 3600 * 1000
MEMBERS: Final = ("input", "metadata", "timeoutMs")
_SPACE: Final = re.compile(r"[ \t\n\r]*")
# What nearly every body is: a text and nothing else
_TEXT_ALONE: Final = re.compile(r'[ \t\n\r]*\{[ \t\n\r]*"input"[ \t\n\r]*:[ \t\n\r]*(?=")')
_END: Final = re.compile(r"[ \t\n\r]*\}[ \t\n\r]*")


class Value(NamedTuple):
    """A member of an object. text: the value as it was written."""

    value: Any  # whatever JSON holds
    text: str


_NO_METADATA: Final[Mapping[str, str]] = {}


class Execution(NamedTuple):
    """What a client asks for. timeout_ms: 0 for the Agent's own."""

    payload: Payload
    metadata: Mapping[str, str] = _NO_METADATA
    timeout_ms: int = 0


def read_execution(body: bytes) -> Execution:
    """Read `{"input": …, "metadata": {}, "timeoutMs": }`. Raises SwitchboardError VALIDATION_FAILED."""
    text = _text_alone(body)
    if text is not None:
        return Execution(Payload(text, TEXT))
    members = read_object(body)
    for name in members:
        if name not in MEMBERS:
            raise invalid(f"{name[:80]!r} is no member of this body: {', '.join(MEMBERS)} are; data goes into input")
    given = members.get("input")
    if given is None:
        raise invalid('input is missing: give a string or any JSON value, as in {"input": "hello"}')
    timeout = members.get("timeoutMs")
    metadata = members.get("metadata")
    return Execution(
        _payload(given),
        _metadata(metadata.value) if metadata else _NO_METADATA,
        _timeout(timeout.value) if timeout else 0,
    )


def _text_alone(body: bytes) -> bytes | None:
    """The text of a body that has nothing else; None for every other body, and for one that is wrong."""
    try:
        text = body.decode()
        begins = _TEXT_ALONE.match(text)
        if begins is None:
            return None
        value, end = _DECODER.raw_decode(text, begins.end())
        written: bytes = value.encode()
        return written if _END.fullmatch(text, end) is not None else None
    except ValueError:  # no UTF-8, no JSON, half of a surrogate pair: read_object says which
        return None


def read_object(body: bytes) -> dict[str, Value]:
    """The members of a JSON object. Raises SwitchboardError VALIDATION_FAILED, which names the position."""
    try:
        return _members(body.decode())
    except UnicodeDecodeError as error:
        raise invalid(f"the body is no JSON: byte {error.start} is not UTF-8") from error
    except json.JSONDecodeError as error:
        where = f"line {error.lineno} column {error.colno}"
        raise failure(
            pb.VALIDATION_FAILED,
            f"the body is no JSON: {error.msg} at {where}",
            line=str(error.lineno),
            column=str(error.colno),
        ) from error
    except RecursionError as error:
        raise invalid("the body is nested too deeply") from error
    except ValueError as error:  # NaN, or a number of thousands of digits
        raise invalid(f"the body is no JSON: {error}") from error


def _members(text: str) -> dict[str, Value]:
    at = _skip(text, 0)
    if text[at : at + 1] != "{":
        if text[at:].strip():
            _DECODER.decode(text)  # it may not be JSON at all: that is said first
        raise invalid('the body must be a JSON object, as in {"input": "hello"}')
    found: dict[str, Value] = {}
    at = _skip(text, at + 1)
    closed = text[at : at + 1] == "}"
    while not closed:
        at = _member(text, at, found)
        mark = text[at : at + 1]
        if mark not in (",", "}"):
            raise json.JSONDecodeError("Expecting ',' or '}'", text, at)
        closed = mark == "}"
        if not closed:
            at = _skip(text, at + 1)
    at = _skip(text, at + 1)
    if at != len(text):
        raise json.JSONDecodeError("Extra data", text, at)
    return found


def _member(text: str, at: int, found: dict[str, Value]) -> int:
    """Read `"name": value` and the space after it; returns the position there."""
    if text[at : at + 1] != '"':
        raise json.JSONDecodeError("Expecting a member's name in double quotes", text, at)
    name, end = _DECODER.raw_decode(text, at)
    end = _skip(text, end)
    if text[end : end + 1] != ":":
        raise json.JSONDecodeError("Expecting ':'", text, end)
    start = _skip(text, end + 1)
    value, end = _DECODER.raw_decode(text, start)
    if name in found:
        raise invalid(f"{name[:80]!r} is given twice: keep one")
    found[name] = Value(value, text[start:end])
    return _skip(text, end)


def _skip(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    assert match is not None  # it matches nothing at least
    return match.end()


def _payload(given: Value) -> Payload:
    try:
        if isinstance(given.value, str):
            return Payload(given.value.encode(), TEXT)
        return Payload(given.text.encode(), JSON)
    except UnicodeEncodeError as error:
        raise invalid("input: half of a surrogate pair is no text; send the whole pair") from error


def _metadata(value: object) -> Mapping[str, str]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise invalid('metadata must be an object of strings, as in {"language": "en"}')
    for name, text in value.items():
        if not isinstance(text, str):
            raise invalid(f"metadata.{name[:80]} must be a string; structured data goes into input")
        if not (is_text(name) and is_text(text)):
            raise invalid(f"metadata.{name[:80]!a} is no text: half of a surrogate pair")
    return value


def _timeout(value: object) -> int:
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_TIMEOUT_MS:
        raise invalid(f"timeoutMs must be a whole number of milliseconds from 1 to {MAX_TIMEOUT_MS}")
    return value


def is_text(text: str) -> bool:
    """Whether it can be written as UTF-8."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def invalid(message: str) -> SwitchboardError:
    """VALIDATION_FAILED."""
    return failure(pb.VALIDATION_FAILED, message)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


_DECODER: Final = json.JSONDecoder(parse_constant=_refuse_constant)


def is_json(text: str) -> bool:
    """Whether it is one JSON value, by RFC 8259 (so without NaN)."""
    try:
        _DECODER.decode(text)
    except (ValueError, RecursionError):
        return False
    return True
