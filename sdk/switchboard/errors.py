"""The exceptions of failed calls: one tree under SwitchboardError, one class per code."""

from switchboard_wire.errors import (
    AgentIdConflict,
    AgentNotFound,
    AgentOffline,
    Cancelled,
    CircuitOpen,
    DeadlineExceeded,
    ErrorValue,
    InternalError,
    InvalidAgentId,
    InvalidMessage,
    NodeUnavailable,
    Overloaded,
    PayloadTooLarge,
    PermissionDenied,
    ProcessingError,
    RoutingError,
    SwitchboardError,
    Unauthenticated,
    Unavailable,
    UnknownMessageType,
    ValidationFailed,
)
from switchboard_wire.v1 import frames_pb2 as pb

__all__ = [
    "AgentIdConflict",
    "AgentNotFound",
    "AgentOffline",
    "Cancelled",
    "CircuitOpen",
    "DeadlineExceeded",
    "InternalError",
    "InvalidAgentId",
    "InvalidMessage",
    "NodeUnavailable",
    "Overloaded",
    "PayloadTooLarge",
    "PermissionDenied",
    "ProcessingError",
    "RoutingError",
    "SwitchboardError",
    "Unauthenticated",
    "Unavailable",
    "UnknownMessageType",
    "ValidationFailed",
    "Refusal",
]

_REFUSALS = ("VALIDATION_FAILED", "PERMISSION_DENIED", "UNKNOWN_MESSAGE_TYPE", "OVERLOADED")


class Refusal(Exception):
    """Raised by a handler that does not take a message: the caller gets `code` rather than PROCESSING_ERROR.

    code: VALIDATION_FAILED, PERMISSION_DENIED, UNKNOWN_MESSAGE_TYPE, or OVERLOADED (tried elsewhere). field: the part
    of the payload that is at fault.
    """

    def __init__(
        self, message: str, *, code: str = "VALIDATION_FAILED", field: str = "", retry_after_s: float = 0.0
    ) -> None:
        if code not in _REFUSALS:
            raise ValueError(f"code is {code!r}: say one of {', '.join(_REFUSALS)}")
        super().__init__(message)
        # What was refused as overloaded counts as not delivered, so that another instance may take it
        delivered = pb.DELIVERED_NO if code == "OVERLOADED" else pb.DELIVERED_YES
        details = {"field": field} if field else {}
        self.error = ErrorValue(pb.Code.Value(code), message, int(retry_after_s * 1000), delivered, details)
