"""The errors that a call on its way can end with, in the words that callers read."""

from switchboard_wire.errors import ErrorValue
from switchboard_wire.v1 import frames_pb2 as pb

# When to come back, of errors that pass when an instance comes
HELD_RETRY_MS = 1000


def too_large(limit: int, agent: str) -> ErrorValue:
    """The payload is over the Agent's maxPayloadBytes."""
    message = f"the payload is over {limit} bytes, the maxPayloadBytes of Agent {agent!r}"
    return ErrorValue(pb.PAYLOAD_TOO_LARGE, message)


def without_credit() -> ErrorValue:
    """The caller broke the rule of credit."""
    return ErrorValue(pb.VALIDATION_FAILED, "DATA was sent without credit")


def offline(agent: str, seconds: float) -> ErrorValue:
    """No instance took the call until its deadline."""
    message = f"Agent {agent!r} had no instance that could take the call within {seconds:.3g} s"
    return ErrorValue(pb.AGENT_OFFLINE, message, retry_after_ms=HELD_RETRY_MS)


def too_late(agent: str, seconds: float) -> ErrorValue:
    """An instance had the call and did not answer until the deadline."""
    message = f"Agent {agent!r} did not answer within {seconds:.3g} s"
    return ErrorValue(pb.DEADLINE_EXCEEDED, message, delivered=pb.DELIVERED_MAYBE)


def try_too_long(instance: str) -> ErrorValue:
    """One attempt was over its own limit; others may follow."""
    message = f"no answer within perTryTimeoutSeconds by {instance}"
    return ErrorValue(pb.NODE_UNAVAILABLE, message, delivered=pb.DELIVERED_MAYBE)


def circuit_open(agent: str, wait_s: float) -> ErrorValue:
    """Every instance that could take the call is left alone after its failures."""
    message = f"Agent {agent!r} keeps failing and is left alone; next attempt in {wait_s:.3g} s"
    return ErrorValue(pb.CIRCUIT_OPEN, message, retry_after_ms=max(1, int(wait_s * 1000)))


def instance_gone(instance: str) -> ErrorValue:
    """The one instance that the call was for has left."""
    return ErrorValue(pb.NODE_UNAVAILABLE, f"instance {instance} is gone")


def deleted(agent: str) -> ErrorValue:
    """The Agent was deleted while the call waited."""
    return ErrorValue(pb.AGENT_NOT_FOUND, f"Agent {agent!r} was deleted")


def too_many_wait() -> ErrorValue:
    """The hold is full."""
    return ErrorValue(pb.OVERLOADED, "too many calls wait for instances already", retry_after_ms=HELD_RETRY_MS)
