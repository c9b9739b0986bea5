"""A call as an HTTP request (CloudEvents 1.0, binary mode), and an HTTP status as an error. Pure."""

import re
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import quote

from switchboard_wire.errors import ErrorValue
from switchboard_wire.v1 import frames_pb2 as pb

DEFAULT_PATH: Final = "/agents/{agent}/execute"
# A server that is too busy and does not say for how long
DEFAULT_RETRY_AFTER_MS: Final = 1000
MAX_RETRY_AFTER_MS: Final = 60_000

_CODES: Final[Mapping[int, int]] = {
    401: pb.UNAUTHENTICATED,
    403: pb.PERMISSION_DENIED,
    404: pb.AGENT_NOT_FOUND,
    413: pb.PAYLOAD_TOO_LARGE,
    415: pb.UNKNOWN_MESSAGE_TYPE,
}
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # field-name, RFC 9110 5.1
# Ours to set, or of one connection alone (RFC 9110 7.6.1)
_RESERVED: Final = frozenset(
    {"host", "content-length", "content-type", "connection", "keep-alive", "te", "trailer", "transfer-encoding"}
    | {"upgrade", "expect", "traceparent", "tracestate", "idempotency-key", "accept-encoding"}
)
# Of the connection or of the body, which is carried otherwise; of the server; and cookies, which are one client's alone
_NOT_PASSED_BACK: Final = frozenset(
    {"connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "content-length", "content-type"}
    | {"date", "server", "set-cookie"}
)
# Far below a frame's bound, and more than any answer needs
MAX_RESPONSE_HEADER_BYTES: Final = 8 * 1024
_PREFIXES: Final = ("ce-", "switchboard-", "proxy-")


def url_path(assignment: pb.Assignment) -> str:
    """The path to POST to, `{agent}` replaced by the Agent's type."""
    path = assignment.http.path or DEFAULT_PATH
    path = path.replace("{agent}", quote(assignment.type, safe=""))
    return path if path.startswith("/") else f"/{path}"


def is_json(content_type: str) -> bool:
    """Whether a body of this type is one JSON value; several in a row have other types."""
    kind = content_type.partition(";")[0].strip().lower()
    return kind == "application/json" or kind.endswith("+json")


def request_headers(first: pb.Frame, assignment: pb.Assignment, namespace: str, remaining_ms: int) -> dict[str, str]:
    """Headers of the request. first: the OPEN frame."""
    open_ = first.open
    headers = {name: value for name, value in open_.headers.items() if _may_pass(name, value)}
    source = open_.source
    key = open_.target.key
    headers |= {
        "Content-Type": first.content_type or "application/octet-stream",
        "ce-specversion": "1.0",
        "ce-id": open_.message_id or str(uuid.uuid4()),
        "ce-source": f"/{source.namespace or namespace}/{source.type}" if source.type else f"/{namespace}",
        "ce-type": first.data_type or open_.method or "switchboard.call",
        "ce-subject": f"{assignment.type}/{key}" if key else assignment.type,
        "Switchboard-Deadline-Ms": str(remaining_ms),
        "Switchboard-Attempt": str(open_.attempt),
        "Switchboard-Hops": str(open_.hops),
    }
    optional = {
        "Switchboard-Key": key,
        "Switchboard-Method": open_.method,
        "Switchboard-Conversation-Id": open_.conversation_id,
        "Switchboard-Causation-Id": open_.causation_id,
        "Switchboard-Chain": ",".join(open_.chain),
        "Switchboard-Principal": open_.principal,
        "Idempotency-Key": open_.idempotency_key,
        "traceparent": open_.traceparent,
        "tracestate": open_.tracestate,
    }
    headers |= {name: value for name, value in optional.items() if value}
    return {name: _encode(value) for name, value in headers.items()}


def response_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers of a response that its caller gets: all but those of the connection, the body and the server.

    headers: repeated names are joined by commas (RFC 9110 5.3). Names come in lower case, at most 8 KiB in all.
    """
    named = {name.strip().lower() for name in headers.get("Connection", "").split(",")}
    found: dict[str, str] = {}
    size = 0
    for name, value in headers.items():
        lower = name.lower()
        if lower in _NOT_PASSED_BACK or lower in named or lower.startswith("proxy-") or not value.isprintable():
            continue
        joined = f"{found[lower]}, {value}" if lower in found else value
        size += len(lower) + len(value.encode())
        if size > MAX_RESPONSE_HEADER_BYTES:
            break
        found[lower] = joined
    return found


def error_of(status: int, headers: Mapping[str, str], excerpt: str) -> ErrorValue:
    """The error that a response outside 2xx stands for. excerpt: the beginning of its body."""
    message = f"the server answered {status}" + (f": {excerpt.strip()}" if excerpt.strip() else "")
    retry_after = headers.get("Retry-After")
    if status == 429 or (status == 503 and retry_after is not None):
        return ErrorValue(pb.OVERLOADED, message, retry_after_ms=_retry_after_ms(retry_after))
    code = _CODES.get(status, pb.VALIDATION_FAILED if status // 100 == 4 else pb.PROCESSING_ERROR)
    return ErrorValue(code, message, delivered=pb.DELIVERED_YES, details={"http_status": str(status)})


def _may_pass(name: str, value: str) -> bool:
    lower = name.lower()
    return bool(_TOKEN.fullmatch(name)) and lower not in _RESERVED and not lower.startswith(_PREFIXES)


def _encode(value: str) -> str:
    """Printable ASCII as it is, the rest percent-encoded (CloudEvents HTTP binding 3.1.3.2): no line can be added."""
    return quote(value, safe=" !#$&'()*+,-./:;<=>?@[\\]^_`{|}~")


def _retry_after_ms(text: str | None) -> int:
    """Retry-After in seconds or as a date (RFC 9110 10.2.3)."""
    if text is None:
        return DEFAULT_RETRY_AFTER_MS
    if text.strip().isdecimal():
        return min(int(text) * 1000, MAX_RETRY_AFTER_MS)
    try:
        delay = parsedate_to_datetime(text) - datetime.now(UTC)
    except (ValueError, TypeError):
        return DEFAULT_RETRY_AFTER_MS
    return min(max(int(delay.total_seconds() * 1000), 0), MAX_RETRY_AFTER_MS)
