"""Switchboard for authors of agents and for their callers.

Write an agent with `@agent`; call agents with `Client` or `SyncClient`; failed calls raise subclasses of
`SwitchboardError`. Imports no kopf and no kubernetes; pydantic only when a handler's annotation needs it.
"""

from switchboard.answers import Answer, AnswerStream
from switchboard.client import Client
from switchboard.composition import Call, Outcome, PipelineResult
from switchboard.errors import (
    AgentIdConflict,
    AgentNotFound,
    AgentOffline,
    Cancelled,
    CircuitOpen,
    DeadlineExceeded,
    InternalError,
    InvalidAgentId,
    InvalidMessage,
    NodeUnavailable,
    Overloaded,
    PayloadTooLarge,
    PermissionDenied,
    ProcessingError,
    Refusal,
    RoutingError,
    SwitchboardError,
    Unauthenticated,
    Unavailable,
    UnknownMessageType,
    ValidationFailed,
)
from switchboard.host.context import Context
from switchboard.host.definition import agent, method
from switchboard.options import CallOptions
from switchboard.sync_client import SyncClient
from switchboard.to_many import Delivery
from switchboard_wire.agent_id import AgentId
from switchboard_wire.calls import Payload

__all__ = [
    # for authors
    "agent",
    "method",
    "Context",
    "Refusal",
    # for callers
    "Client",
    "SyncClient",
    "Answer",
    "AnswerStream",
    "Call",
    "CallOptions",
    "Delivery",
    "Outcome",
    "PipelineResult",
    # values
    "AgentId",
    "Payload",
    # errors
    "SwitchboardError",
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
    "Unauthenticated",
    "Unavailable",
    "UnknownMessageType",
    "ValidationFailed",
]
