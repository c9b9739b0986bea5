"""Whether a failed attempt is followed by another, when, and where."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final

from switchboard_routing.policy import RetryPolicy
from switchboard_wire.errors import Retry, row_of
from switchboard_wire.v1 import frames_pb2 as pb

# Attempts that were never delivered cost nobody anything; this only ends a loop of refusals.
MAX_UNDELIVERED: Final = 32


class Next(Enum):
    """What follows a failed attempt."""

    GIVE_UP = "give up"
    ELSEWHERE = "another instance"
    HOLD = "wait for an instance"


@dataclass(frozen=True, slots=True)
class Failure:
    """One failed attempt. tried: attempts so far that an instance may have seen; refused: those never delivered."""

    code: int
    delivered: int
    tried: int
    refused: int
    idempotent: bool
    others: bool  # is there a candidate that this call has not tried
    remaining_s: float


@dataclass(frozen=True, slots=True)
class Decision:
    next: Next
    delay_s: float = 0.0


GIVE_UP: Final = Decision(Next.GIVE_UP)


def decide(failure: Failure, policy: RetryPolicy, rng: Callable[[], float]) -> Decision:
    """Apply the error table. An undelivered call goes elsewhere at once; a delivered one only when idempotent, later.

    The delay is exponential with full jitter (Brooker, Exponential Backoff And Jitter, 2015).
    """
    rule = row_of(failure.code).retry
    undelivered = failure.delivered == pb.DELIVERED_NO
    if rule is Retry.NEVER or failure.refused >= MAX_UNDELIVERED:
        return GIVE_UP
    if rule is Retry.ELSEWHERE:
        return Decision(Next.ELSEWHERE) if failure.others and undelivered else GIVE_UP
    if undelivered and rule in (Retry.UNDELIVERED, Retry.HELD):
        return Decision(Next.ELSEWHERE if failure.others else Next.HOLD)
    if not failure.idempotent or failure.tried >= policy.attempts:
        return GIVE_UP
    delay = min(policy.max_backoff_s, policy.initial_backoff_s * 2 ** (failure.tried - 1)) * rng()
    return Decision(Next.ELSEWHERE, delay) if delay < failure.remaining_s else GIVE_UP
