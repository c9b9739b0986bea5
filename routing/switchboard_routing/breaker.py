"""The circuit breaker of one instance and one Agent: closed, open, half-open (Nygard, Release It!, 2007)."""

from enum import Enum
from typing import Final

from switchboard_routing.policy import BreakerPolicy
from switchboard_wire.v1 import frames_pb2 as pb

# A host that says "come back in an hour" is asked again after this time: it may have been replaced meanwhile
MAX_PUSH_BACK_S: Final = 300.0


class State(Enum):
    """CLOSED: calls flow. OPEN: none, for a while. HALF_OPEN: a few at a time, to see whether it is well again."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


class Outcome(Enum):
    """What an attempt says about its instance. NEUTRAL: nothing, as when the caller gave up."""

    SUCCESS = "success"
    FAILURE = "failure"
    NEUTRAL = "neutral"


_FAILURES: Final = frozenset({pb.NODE_UNAVAILABLE, pb.DEADLINE_EXCEEDED, pb.PROCESSING_ERROR, pb.INTERNAL_ERROR})
# Said by an instance that is well: the caller, or the load, is at fault, or another agent further on
_NEUTRAL: Final = frozenset({pb.OVERLOADED, pb.CANCELLED, pb.AGENT_OFFLINE, pb.CIRCUIT_OPEN, pb.ROUTING_ERROR})


def judge(code: int) -> Outcome:
    """What the error code of an attempt says about its instance."""
    if code in _FAILURES:
        return Outcome.FAILURE
    return Outcome.NEUTRAL if code in _NEUTRAL else Outcome.SUCCESS


class Breaker:
    """Counts outcomes. `probes`: attempts under way that were let through while it was not closed.

    Attempts that began before it opened say nothing once it is open: `probe` tells them apart.
    """

    __slots__ = ("failures", "policy", "probes", "state", "successes", "until")

    def __init__(self, policy: BreakerPolicy) -> None:
        self.policy = policy
        self.state = State.CLOSED
        self.failures = 0
        self.successes = 0
        self.probes = 0
        self.until = 0.0

    def look(self, now: float) -> bool:
        """Turn half-open when the time has come; whether the state changed."""
        if self.state is not State.OPEN or now < self.until:
            return False
        self.state = State.HALF_OPEN
        self.successes = 0
        return True

    def admits(self, last_resort: bool) -> bool:
        """Whether one more attempt may go. Open, it takes one at a time, and only as the last resort."""
        if self.state is State.CLOSED:
            return True
        if self.state is State.HALF_OPEN:
            return self.probes < self.policy.successes_to_close
        return last_resort and not self.probes

    def succeeded(self, probe: bool) -> bool:
        """Take a success; whether the state changed."""
        if self.state is State.CLOSED:
            self.failures = 0
            return False
        if not probe:
            return False
        reopened = self.state is State.OPEN  # it answered a last resort: no need to wait any longer
        self.state = State.HALF_OPEN
        self.successes = 1 if reopened else self.successes + 1
        if self.successes < self.policy.successes_to_close:
            return reopened
        self.state = State.CLOSED
        self.failures = 0
        return True

    def failed(self, now: float, probe: bool, retry_after_s: float) -> bool:
        """Take a failure; whether the state changed. retry_after_s: how long the instance asked to be left alone."""
        pause = max(self.policy.open_s, min(retry_after_s, MAX_PUSH_BACK_S))
        if self.state is State.CLOSED:
            self.failures += 1
            if self.failures < self.policy.consecutive_failures:
                return False
        elif self.state is State.OPEN or not probe:
            return False
        self.state = State.OPEN
        self.until = now + pause
        return True
