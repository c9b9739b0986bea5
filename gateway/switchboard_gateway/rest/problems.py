"""Errors as problem documents (RFC 9457). Pure."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from switchboard_wire.errors import ErrorValue, name_of, row_of
from switchboard_wire.v1 import frames_pb2 as pb

PROBLEM: Final = "application/problem+json"
# Identifies the kind of problem; nothing has to answer there
TYPE_PREFIX: Final = "https://switchboard.dev/errors/"
# Codes that always say when to come back; the time when the refusing side did not say
RETRY_AFTER_MS: Final = 1000
# Of what nobody expected: only the log has more
FAILED: Final = ErrorValue(pb.INTERNAL_ERROR, "the gateway failed; its log says why")
_COME_BACK: Final = frozenset({pb.OVERLOADED, pb.AGENT_OFFLINE, pb.CIRCUIT_OPEN})
_DELIVERED: Final[Mapping[int, str]] = {pb.DELIVERED_NO: "NO", pb.DELIVERED_MAYBE: "MAYBE", pb.DELIVERED_YES: "YES"}


@dataclass(frozen=True, slots=True)
class Problem:
    """An HTTP answer that is an error."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


def describe_error(error: ErrorValue, status: int = 0) -> dict[str, Any]:
    """The members of a problem. status: when HTTP has a better one than the error table."""
    code = name_of(error.code)
    members: dict[str, Any] = {
        "type": TYPE_PREFIX + code,
        "title": code.replace("_", " ").capitalize(),
        "status": status or row_of(error.code).http,
        "detail": error.message,
        "code": code,
        "delivered": _DELIVERED.get(error.delivered, "MAYBE"),
    }
    retry_after_ms = _retry_after_ms(error)
    if retry_after_ms:
        members["retryAfterMs"] = retry_after_ms
    if error.details:
        members["details"] = dict(error.details)
    return members


def to_problem(error: ErrorValue, status: int = 0) -> Problem:
    """The whole HTTP answer, with Retry-After in whole seconds where the error has one."""
    members = describe_error(error, status)
    retry_after_ms = members.get("retryAfterMs")
    headers = {"Retry-After": str(math.ceil(retry_after_ms / 1000))} if retry_after_ms else {}
    if error.code == pb.UNAUTHENTICATED:
        headers["WWW-Authenticate"] = "Bearer"  # RFC 9110 asks for it
    return Problem(members["status"], json.dumps(members).encode(), headers)


def _retry_after_ms(error: ErrorValue) -> int:
    if error.retry_after_ms:
        return error.retry_after_ms
    return RETRY_AFTER_MS if error.code in _COME_BACK else 0
