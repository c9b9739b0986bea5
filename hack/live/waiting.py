"""Wait for conditions of a cluster: look, and look again, until it holds or a generous time is over."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

INTERVAL_S = 0.3  # a look is often a kubectl process, which costs a tenth of a second of CPU


class Late(Exception):
    """What was waited for did not come in time; the text says what was seen last."""


def wait_until(look: Callable[[], T | None], what: str, timeout_s: float = 120) -> T:
    """The first value of `look` that is true; falsy values are looked at again, and so is a look that raises NotYet.

    Raises Late with `what` and the last that was seen.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        seen: object
        try:
            value = look()
            if value:
                return value
            seen = value
        except NotYet as reason:
            seen = reason
        if time.monotonic() > deadline:
            told = f"; seen last: {seen}" if str(seen) not in ("None", "False", "") else ""
            raise Late(f"waited {timeout_s:.0f} s in vain for {what}{told}")
        time.sleep(INTERVAL_S)


class NotYet(Exception):
    """Raised by a look that wants to tell what it saw instead."""
