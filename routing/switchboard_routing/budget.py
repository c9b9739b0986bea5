"""How many retries an Agent may have: a share of its calls, so that retries never multiply an outage."""

from typing import Final

# Share of calls that may be tried once more (Finagle's RetryBudget and Envoy's retry_budget use 20 %)
RATIO: Final = 0.2
# A quiet Agent may still retry: one a second, and this many at once
PER_S: Final = 1.0
RESERVE: Final = 20.0
# What a busy hour saves up must not all be spent in a bad minute
MAX_TOKENS: Final = 200.0


class RetryBudget:
    """A token bucket, filled by calls and by time, emptied by retries."""

    __slots__ = ("_calls", "_now", "_tokens")

    def __init__(self) -> None:
        self._tokens = RESERVE
        self._calls = 0
        self._now: float | None = None

    def take(self, calls: int, now: float) -> bool:
        """Whether one more retry is within the budget. calls: how many the Agent has had in all."""
        earned = (calls - self._calls) * RATIO
        if self._now is not None:
            idle = (now - self._now) * PER_S
            earned += min(idle, max(0.0, RESERVE - self._tokens - earned))
        self._tokens = min(MAX_TOKENS, self._tokens + earned)
        self._calls, self._now = calls, now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
