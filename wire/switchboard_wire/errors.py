"""The one error table: code → gRPC status, HTTP status, who may try again; and the exception that carries an error."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from switchboard_wire.limits import MAX_UINT32
from switchboard_wire.v1 import frames_pb2 as pb


class Retry(Enum):
    """What a router may do with a failed call while its deadline lasts."""

    NEVER = "never"
    ELSEWHERE = "elsewhere"  # another instance, when one is there
    UNDELIVERED = "undelivered"  # when delivered=NO, or the call is idempotent
    IDEMPOTENT = "idempotent"  # only when the call is idempotent
    HELD = "held"  # wait for an instance


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the error table. grpc: number of the gRPC status code."""

    grpc: int
    http: int
    retry: Retry


# https://grpc.github.io/grpc/core/md_doc_statuscodes.html numbers the gRPC codes
ERROR_TABLE: Final[Mapping[int, Row]] = {
    pb.VALIDATION_FAILED: Row(3, 400, Retry.NEVER),
    pb.INVALID_AGENT_ID: Row(3, 400, Retry.NEVER),
    pb.UNAUTHENTICATED: Row(16, 401, Retry.NEVER),
    pb.PERMISSION_DENIED: Row(7, 403, Retry.NEVER),
    pb.AGENT_NOT_FOUND: Row(5, 404, Retry.NEVER),
    pb.AGENT_ID_CONFLICT: Row(6, 409, Retry.NEVER),
    pb.PAYLOAD_TOO_LARGE: Row(11, 413, Retry.NEVER),
    pb.UNKNOWN_MESSAGE_TYPE: Row(12, 422, Retry.NEVER),
    pb.OVERLOADED: Row(8, 429, Retry.ELSEWHERE),
    pb.CANCELLED: Row(1, 499, Retry.NEVER),
    pb.PROCESSING_ERROR: Row(2, 500, Retry.IDEMPOTENT),
    pb.ROUTING_ERROR: Row(9, 508, Retry.NEVER),
    pb.AGENT_OFFLINE: Row(14, 503, Retry.HELD),
    pb.NODE_UNAVAILABLE: Row(14, 503, Retry.UNDELIVERED),
    pb.CIRCUIT_OPEN: Row(14, 503, Retry.ELSEWHERE),
    pb.DEADLINE_EXCEEDED: Row(4, 504, Retry.NEVER),
    pb.INTERNAL_ERROR: Row(13, 500, Retry.NEVER),
}
_UNKNOWN: Final = ERROR_TABLE[pb.INTERNAL_ERROR]


def row_of(code: int) -> Row:
    """The row of a code; a code that this version does not know counts as an internal error."""
    return ERROR_TABLE.get(code, _UNKNOWN)


def name_of(code: int) -> str:
    """The name of a code, as users see it."""
    return pb.Code.Name(pb.Code.ValueType(code)) if code in ERROR_TABLE else "INTERNAL_ERROR"


class SwitchboardError(Exception):
    """A failed call, as every part of the product raises it and every edge translates it.

    Each code has a subclass: SwitchboardError(ErrorValue(pb.OVERLOADED, …)) is an Overloaded.
    """

    def __new__(cls, error: "ErrorValue") -> "SwitchboardError":
        return super().__new__(_CLASSES.get(error.code, cls) if cls is SwitchboardError else cls, error)

    def __init__(self, error: "ErrorValue") -> None:
        super().__init__(f"{name_of(error.code)}: {error.message}")
        self.error = error

    @property
    def code(self) -> str:
        """Name of the code, for example `AGENT_NOT_FOUND`."""
        return name_of(self.error.code)

    @property
    def message(self) -> str:
        return self.error.message

    @property
    def retry_after_s(self) -> float | None:
        """Seconds after which another try makes sense, when the refusing side knows."""
        return self.error.retry_after_ms / 1000 if self.error.retry_after_ms else None


class InvalidMessage(SwitchboardError):
    """The message itself is at fault: VALIDATION_FAILED, INVALID_AGENT_ID, PAYLOAD_TOO_LARGE, UNKNOWN_MESSAGE_TYPE."""


class ValidationFailed(InvalidMessage):
    """The payload does not fit what the handler takes."""


class InvalidAgentId(InvalidMessage):
    """The target is no agent id."""


class PayloadTooLarge(InvalidMessage):
    """The payload is larger than the Agent takes."""


class UnknownMessageType(InvalidMessage):
    """The agent has no such method or type of message."""


class Unauthenticated(SwitchboardError):
    """The caller's credential is missing or not valid."""


class PermissionDenied(SwitchboardError):
    """The caller may not do this."""


class AgentNotFound(SwitchboardError):
    """No Agent of that type or capability is declared."""


class AgentIdConflict(SwitchboardError):
    """Another agent has this id."""


class Cancelled(SwitchboardError):
    """The caller gave the call up."""


class ProcessingError(SwitchboardError):
    """The handler raised an exception."""


class RoutingError(SwitchboardError):
    """The call went in a loop, or over too many hops."""


class Unavailable(SwitchboardError):
    """Nobody could take the call now; another try later can succeed."""


class Overloaded(Unavailable):
    """Every instance that could take it is full."""


class AgentOffline(Unavailable):
    """The Agent is known, and no instance took the call in time."""


class NodeUnavailable(Unavailable):
    """The instance, or the way to it, was lost during the call."""


class CircuitOpen(Unavailable):
    """Every instance is left alone for a while after its failures."""


class DeadlineExceeded(SwitchboardError):
    """No answer within the time allowed."""


class InternalError(SwitchboardError):
    """A fault of Switchboard's own."""


_CLASSES: Final[Mapping[int, type[SwitchboardError]]] = {
    pb.VALIDATION_FAILED: ValidationFailed,
    pb.INVALID_AGENT_ID: InvalidAgentId,
    pb.UNAUTHENTICATED: Unauthenticated,
    pb.PERMISSION_DENIED: PermissionDenied,
    pb.AGENT_NOT_FOUND: AgentNotFound,
    pb.AGENT_ID_CONFLICT: AgentIdConflict,
    pb.PAYLOAD_TOO_LARGE: PayloadTooLarge,
    pb.UNKNOWN_MESSAGE_TYPE: UnknownMessageType,
    pb.OVERLOADED: Overloaded,
    pb.CANCELLED: Cancelled,
    pb.PROCESSING_ERROR: ProcessingError,
    pb.ROUTING_ERROR: RoutingError,
    pb.AGENT_OFFLINE: AgentOffline,
    pb.NODE_UNAVAILABLE: NodeUnavailable,
    pb.CIRCUIT_OPEN: CircuitOpen,
    pb.DEADLINE_EXCEEDED: DeadlineExceeded,
    pb.INTERNAL_ERROR: InternalError,
}


# Of what an error tells. It may quote what a caller sent, or what a handler said, and travels in one frame
MAX_ERROR_CHARS: Final = 4096
MAX_DETAIL_CHARS: Final = 1024
MAX_DETAILS: Final = 16


@dataclass(frozen=True, slots=True)
class ErrorValue:
    """An error as a plain value: what `Error` is on the wire, where long texts are cut."""

    code: int
    message: str
    retry_after_ms: int = 0
    delivered: int = pb.DELIVERED_NO
    details: Mapping[str, str] = field(default_factory=dict)

    def to_wire(self) -> pb.Error:
        return pb.Error(
            code=pb.Code.ValueType(self.code),
            message=sendable(self.message, MAX_ERROR_CHARS),
            retry_after_ms=min(max(0, self.retry_after_ms), MAX_UINT32),
            delivered=pb.Delivered.ValueType(self.delivered),
            details={
                sendable(name, MAX_DETAIL_CHARS): sendable(value, MAX_DETAIL_CHARS)
                for name, value in itertools.islice(self.details.items(), MAX_DETAILS)
            },
        )

    @staticmethod
    def from_wire(error: pb.Error) -> "ErrorValue":
        return ErrorValue(error.code, error.message, error.retry_after_ms, error.delivered, dict(error.details))


def sendable(text: str, limit: int) -> str:
    """A text as a frame can hold it: cut, and with `?` in place of what UTF-8 does not know (lone surrogates)."""
    cut = text if len(text) <= limit else f"{text[: limit - 1]}…"
    return cut if cut.isascii() else cut.encode("utf-8", "replace").decode()


def failure(
    code: int, message: str, *, retry_after_ms: int = 0, delivered: int = pb.DELIVERED_NO, **details: str
) -> SwitchboardError:
    """The exception of one code; `details` are named values that help the caller."""
    return SwitchboardError(ErrorValue(code, message, retry_after_ms, delivered, details))


def close_with(call: int, error: ErrorValue) -> pb.Frame:
    """The CLOSE frame that ends `call` with an error."""
    return pb.Frame(kind=pb.CLOSE, call=call, error=error.to_wire())
