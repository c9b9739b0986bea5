"""Questions to the API server's review APIs: not many at once, none for long, and whether it answers at all."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

from switchboard_identity.reviews import Json

log = logging.getLogger("switchboard.identity")

# A review takes milliseconds; an API server that hangs must not hold anybody for long
REVIEW_S: Final = 5.0
# At once, so that a flood of made-up tokens is none at the API server
REVIEWS_AT_ONCE: Final = 32

# Told of each review by its name and the answer: YES, NO, or NONE when there was no answer
Count = Callable[[str, str], None]
YES: Final = "yes"
NO: Final = "no"
NONE: Final = "none"

K = TypeVar("K")
V = TypeVar("V")


class ReviewFailed(Exception):
    """The API server gave no answer, or does not let us ask."""


def count_nothing(review: str, answer: str) -> None:
    """A `Count` for who keeps none."""


class Asker:
    """Asks, and knows whether the last question was answered. whom: about whom; for the log. clock: in seconds.

    count: told here of questions without an answer; of a yes or no whoever reads the answer tells it.
    """

    def __init__(self, whom: str, clock: Callable[[], float], count: Count = count_nothing) -> None:
        self._whom, self._clock, self.count = whom, clock, count
        self._turn = asyncio.Semaphore(REVIEWS_AT_ONCE)
        self._warned = float("-inf")
        self.is_away = False  # the API server did not answer the last time

    async def ask(self, review: Callable[[], Coroutine[Any, Any, Json]], what: str) -> Json:
        """The answer to a question. what: which review it is. Raises ReviewFailed."""
        try:
            async with self._turn, asyncio.timeout(REVIEW_S):
                answer = await review()
        except (TimeoutError, ReviewFailed) as error:
            reason = str(error) or f"no answer within {REVIEW_S:g} s"
            self.is_away = True
            self.count(what, NONE)
            if self._clock() - self._warned > REVIEW_S:
                self._warned = self._clock()
                log.warning(f"{self._whom} cannot be checked", extra={"review": what, "reason": reason[:300]})
            raise ReviewFailed(reason) from error
        self.is_away = False
        return answer


def keep_newest(known: dict[K, V], key: K, value: V, most: int) -> None:
    """Remember it as the newest; the oldest gives way."""
    known.pop(key, None)
    known[key] = value
    if len(known) > most:
        del known[next(iter(known))]
