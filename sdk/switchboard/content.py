"""Values as payloads and back: text for str, octets for bytes, JSON for everything that has structure."""

import dataclasses
import datetime
import enum
import json
import uuid
from collections.abc import Mapping, Set
from typing import Any, Final

from switchboard_wire.calls import Payload
from switchboard_wire.errors import failure
from switchboard_wire.v1 import frames_pb2 as pb

TEXT: Final = "text/plain"
OCTETS: Final = "application/octet-stream"
JSON: Final = "application/json"


def encode(value: object) -> Payload:
    """The payload of a value: None is empty, a Payload is itself, what is neither text nor bytes becomes JSON.

    Raises TypeError for what JSON cannot hold.
    """
    if isinstance(value, str):
        return Payload(value.encode(), TEXT)
    if value is None:
        return _NOTHING
    if isinstance(value, Payload):
        return value
    if isinstance(value, (bytes, bytearray, memoryview)):
        return Payload(bytes(value), OCTETS)
    return Payload(json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=_plain).encode(), JSON)


_NOTHING: Final = Payload()


def _plain(value: object) -> object:
    """What stands in JSON for a value that json does not know."""
    dump = getattr(value, "model_dump", None)  # pydantic, without importing it
    if dump is not None:
        return dump(mode="json")
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, (datetime.datetime, datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, (Set, tuple)):
        return list(value)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, uuid.UUID):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no JSON form: use a dict, a dataclass or a pydantic model")


def is_json(content_type: str) -> bool:
    kind = content_type.partition(";")[0].strip().lower()
    return kind == JSON or kind.endswith("+json")


def is_text(content_type: str) -> bool:
    return content_type.startswith("text/")


def decode(data: bytes, content_type: str) -> Any:
    """The value of a payload: str, what the JSON holds, bytes, or None for nothing at all.

    Raises ValidationFailed when the bytes are not what their type says.
    """
    if is_text(content_type):
        return decode_text(data)
    if is_json(content_type):
        return decode_json(data)
    return data if data or content_type else None


def decode_text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise failure(pb.VALIDATION_FAILED, f"the payload is not UTF-8: {error.reason} at byte {error.start}") from None


def decode_json(data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError as error:
        raise failure(pb.VALIDATION_FAILED, f"the payload is not JSON: {error}") from None
