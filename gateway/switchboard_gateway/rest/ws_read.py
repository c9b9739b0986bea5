"""From the JSON of a WebSocket message to frames of a call. Pure; docs/reference/websocket.md is its other half."""

import base64
import binascii
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from switchboard_gateway.rest.json_body import JSON, MAX_TIMEOUT_MS, TEXT, Value, invalid, is_text, read_object
from switchboard_gateway.rest.request_headers import MAX_IDEMPOTENCY_KEY, valid_trace
from switchboard_wire.agent_id import parse_agent_id
from switchboard_wire.calls import Payload, new_open
from switchboard_wire.errors import SwitchboardError, failure
from switchboard_wire.limits import INITIAL_CREDIT_BYTES, MAX_DATA_BYTES
from switchboard_wire.v1 import frames_pb2 as pb

MAX_CALL: Final = 2**31 - 1
# What does not fit in one frame goes as DATA, for which every call has this much credit at its begin
MAX_PAYLOAD: Final = INITIAL_CREDIT_BYTES
MAX_ID: Final = 256
_CAPABILITY: Final = "capability:"
_TARGET: Final = ("namespace", "type", "key", "capability", "version", "topic", "source", "instances")
_PAYLOAD: Final = frozenset({"input", "data", "contentType", "dataType", "end"})
_OPTIONS: Final = {
    *("target", "metadata", "timeoutMs", "idempotencyKey", "strategy", "method", "reply", "ack", "priority"),
    *("id", "conversationId", "traceparent", "tracestate", "manualCredit"),
}
KINDS_AND_MEMBERS: Final[Mapping[str, frozenset[str]]] = {
    "HELLO": frozenset(),
    "OPEN": _PAYLOAD | _OPTIONS,
    "DATA": _PAYLOAD - {"contentType", "dataType"},
    "WINDOW": frozenset({"credit"}),
    "HALF_CLOSE": frozenset(),
    "CANCEL": frozenset(),
    "PING": frozenset({"number"}),
    "AUTH": frozenset({"token"}),
}
_WITHOUT_CALL: Final = ("HELLO", "PING", "AUTH")


class BrokenRule(Exception):
    """What came is no message of a session: the socket must be closed. code: of the close (RFC 6455 7.4.1)."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


NOT_JSON: Final = 1007
NOT_A_FRAME: Final = 1002


@dataclass(frozen=True, slots=True)
class Message:
    """One JSON message: of a known kind, with a call number where the kind has one. Its members are not read yet."""

    kind: str
    call: int
    members: Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class Opening:
    """An OPEN. frames: it, and DATA for what it cannot hold. manual_credit: the client grants credit itself."""

    frames: tuple[pb.Frame, ...]
    manual_credit: bool


def read_message(text: str) -> Message:
    """The kind and the call of a message. Raises BrokenRule."""
    try:
        members = read_object(text.encode())
    except UnicodeEncodeError:
        raise BrokenRule(NOT_JSON, "the message is not UTF-8") from None
    except SwitchboardError as error:
        raise BrokenRule(NOT_JSON, error.message) from None
    kind = _plain(members.pop("kind", None))
    known = KINDS_AND_MEMBERS.get(kind) if isinstance(kind, str) else None
    if known is None or not isinstance(kind, str):
        raise BrokenRule(NOT_A_FRAME, f"kind must be one of {', '.join(KINDS_AND_MEMBERS)}")
    if kind in _WITHOUT_CALL:
        return Message(kind, 0, members)
    call = _plain(members.pop("call", None))
    if isinstance(call, bool) or not isinstance(call, int) or not 1 <= call <= MAX_CALL:
        raise BrokenRule(NOT_A_FRAME, f"call must be a whole number from 1 to {MAX_CALL}")
    return Message(kind, call, members)


def read_open(message: Message) -> Opening:
    """The frames of an OPEN. Raises SwitchboardError VALIDATION_FAILED, INVALID_AGENT_ID or PAYLOAD_TOO_LARGE."""
    members = _known(message)
    opened = pb.Open(target=_target(members.get("target")))
    _read_options(members, opened)
    opened.headers.update(_metadata(members.get("metadata")))
    payload = _payload(members)
    end = _flag(members, "end", default=True)
    first = new_open(opened, payload, end=end)
    rest = payload.data[MAX_DATA_BYTES:]
    return Opening((first, *_pieces(rest, end=end)), _flag(members, "manualCredit", default=False))


def read_data(message: Message) -> tuple[pb.Frame, ...]:
    """The frames of a DATA. Raises SwitchboardError."""
    members = _known(message)
    data = _payload(members).data
    end = _flag(members, "end", default=False)
    return _pieces(data, end=end) if data else (pb.Frame(kind=pb.HALF_CLOSE),) if end else ()


def read_credit(message: Message) -> int:
    """The bytes that a WINDOW grants. Raises SwitchboardError."""
    return _number(_known(message), "credit", 1, MAX_CALL)


def read_number(message: Message) -> int:
    """The number of a PING. Raises SwitchboardError."""
    return _number(_known(message), "number", 0, MAX_CALL) if "number" in message.members else 0


def read_token(message: Message) -> str:
    """The token of an AUTH. Raises SwitchboardError."""
    return _text("token", _plain(_known(message).get("token")))


def _known(message: Message) -> Mapping[str, Value]:
    for name in message.members:
        if name not in KINDS_AND_MEMBERS[message.kind]:
            known = ", ".join(sorted(KINDS_AND_MEMBERS[message.kind])) or "none"
            raise invalid(f"{name[:80]!a} is no member of {message.kind}: there is {known}")
    return message.members


def _pieces(data: bytes, *, end: bool) -> tuple[pb.Frame, ...]:
    starts = range(0, len(data), MAX_DATA_BYTES)
    return tuple(
        pb.Frame(kind=pb.DATA, data=data[at : at + MAX_DATA_BYTES], end=end and at + MAX_DATA_BYTES >= len(data))
        for at in starts
    )


def _target(given: Value | None) -> pb.Target:
    value = _plain(given)
    if isinstance(value, str):
        if value.startswith(_CAPABILITY):
            return pb.Target(capability=_text("target", value[len(_CAPABILITY) :]))
        agent = parse_agent_id(_text("target", value))
        return pb.Target(type=agent.type, key=agent.key)
    if not isinstance(value, dict):
        raise invalid('target must be "type", "type/key", "capability:NAME", or an object')
    for name in value:
        if name not in _TARGET:
            raise invalid(f"target.{name[:80]!a} is not known: there is {', '.join(_TARGET)}")
    words = {name: _text(f"target.{name}", text) for name, text in value.items()}
    if words.get("instances", "all") != "all":
        raise invalid("target.instances: say all, or leave it out")
    if sum(bool(words.get(name)) for name in ("type", "capability", "topic")) != 1:
        raise failure(pb.INVALID_AGENT_ID, "target: name one of type, capability and topic")
    return pb.Target(
        namespace=words.get("namespace", ""),
        type=words.get("type", ""),
        key=words.get("key", ""),
        capability=words.get("capability", ""),
        version_range=words.get("version", ""),
        topic=words.get("topic", ""),
        topic_source=words.get("source", ""),
        all_instances="instances" in words,
    )


def _read_options(members: Mapping[str, Value], opened: pb.Open) -> None:
    if "timeoutMs" in members:
        opened.deadline_ms = _number(members, "timeoutMs", 1, MAX_TIMEOUT_MS)
    if "priority" in members:
        opened.priority = _number(members, "priority", -1000, 1000)
    for name, write, most in _STRINGS:
        if name in members:
            write(opened, _bounded(name, members[name].value, most))
    opened.idempotent = bool(opened.idempotency_key)
    if not valid_trace(opened.traceparent):
        opened.traceparent = opened.tracestate = ""  # as everywhere: ignored, never refused
    if _choice(members, "reply", ("result", "none")) == "none":
        opened.reply = pb.REPLY_NONE
    if _choice(members, "ack", ("handled", "accepted")) == "accepted":
        opened.ack = pb.ACK_ACCEPTED


def _setter(field: str) -> Callable[[pb.Open, str], None]:
    return lambda opened, text: setattr(opened, field, text)


_STRINGS: Final = (
    ("id", _setter("message_id"), MAX_ID),
    ("conversationId", _setter("conversation_id"), MAX_ID),
    ("idempotencyKey", _setter("idempotency_key"), MAX_IDEMPOTENCY_KEY),
    ("method", _setter("method"), MAX_ID),
    ("strategy", _setter("strategy"), MAX_ID),
    ("traceparent", _setter("traceparent"), MAX_ID),
    ("tracestate", _setter("tracestate"), 512),
)


def _payload(members: Mapping[str, Value]) -> Payload:
    given, encoded = members.get("input"), members.get("data")
    content_type = _text("contentType", _plain(members.get("contentType")) or "")
    data_type = _text("dataType", _plain(members.get("dataType")) or "")
    if given is not None and encoded is not None:
        raise invalid("input and data are both given: keep one")
    if encoded is not None:
        return Payload(_sized(_decode(encoded.value)), content_type or "application/octet-stream", data_type)
    if given is None:
        return Payload(b"", content_type, data_type)
    if isinstance(given.value, str):
        return Payload(_sized(_text("input", given.value).encode()), content_type or TEXT, data_type)
    return Payload(_sized(_text("input", given.text).encode()), content_type or JSON, data_type)


def _sized(data: bytes) -> bytes:
    if len(data) > MAX_PAYLOAD:
        text = f"one message carries at most {MAX_PAYLOAD} bytes of payload: send the rest as DATA"
        raise failure(pb.PAYLOAD_TOO_LARGE, text)
    return data


def _decode(value: object) -> bytes:
    try:
        return base64.b64decode(value if isinstance(value, str) else "!", validate=True)
    except (binascii.Error, ValueError):
        raise invalid("data is no base64") from None


def _metadata(given: Value | None) -> dict[str, str]:
    value = _plain(given)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise invalid('metadata must be an object of strings, as in {"language": "en"}')
    return {_text("metadata", name): _text(f"metadata.{name[:80]}", text) for name, text in value.items()}


def _plain(given: Value | None) -> object:
    return None if given is None else given.value


def _text(name: str, value: object) -> str:
    if not isinstance(value, str) or not is_text(value):
        raise invalid(f"{name} must be text")
    return value


def _bounded(name: str, value: object, most: int) -> str:
    text = _text(name, value)
    if len(text) > most:
        raise invalid(f"{name} has over {most} characters")
    return text


def _number(members: Mapping[str, Value], name: str, least: int, most: int) -> int:
    value = _plain(members.get(name))
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise invalid(f"{name} must be a whole number from {least} to {most}")
    return value


def _flag(members: Mapping[str, Value], name: str, *, default: bool) -> bool:
    value = _plain(members.get(name))
    if value is None:
        return default
    if not isinstance(value, bool):
        raise invalid(f"{name} must be true or false")
    return value


def _choice(members: Mapping[str, Value], name: str, choices: tuple[str, ...]) -> str:
    value = _plain(members.get(name))
    if value is None:
        return choices[0]
    if value not in choices:
        raise invalid(f"{name} must be {' or '.join(choices)}")
    return str(value)
