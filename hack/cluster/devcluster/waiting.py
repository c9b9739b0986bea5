"""Wait for conditions."""

import time
from collections.abc import Callable

from devcluster.faults import DeadlinePassed

INTERVAL_S = 0.1  # short against the seconds that components take, long against the cost of a look


def wait_until(condition: Callable[[], bool], what: str, timeout_s: float) -> None:
    """Return as soon as the condition holds; raise DeadlinePassed, naming `what`, when it does not in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise DeadlinePassed(f"waited {timeout_s:.0f} s in vain for {what}")
        time.sleep(INTERVAL_S)
