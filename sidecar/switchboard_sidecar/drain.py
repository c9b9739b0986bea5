"""When a drain is complete (pure), and the gate and the waits around it.

SERVING → ANNOUNCED: gateways have been asked to send no more; calls that were on their way are still served.
ANNOUNCED → REFUSING: it has been quiet, or long enough; what still comes is refused with delivered=NO, to go elsewhere.
REFUSING → DONE: nothing is in flight, or the time is over.
"""

import asyncio
import logging
import threading
from collections.abc import Callable
from enum import Enum
from typing import Final

log = logging.getLogger("sidecar.drain")

# A gateway acts on GOAWAY within a round trip; a second covers one that is busy
QUIET_S: Final = 1.0
# A gateway that does not listen does not hold up the drain
ACCEPT_AT_MOST_S: Final = 3.0
# Kubelet runs both preStops in parallel: this long does the host's wait for ours to begin. Ours is a Python process
# that needs 0.2 s of a processor, of which a node with nothing to spare gives it a twentieth (docs/adr/0012)
BEGIN_WITHIN_S: Final = 10.0
_POLL_S: Final = 0.05


class Phase(Enum):
    SERVING = "serving"
    ANNOUNCED = "announced"
    REFUSING = "refusing"
    DONE = "done"


class DrainClock:
    """The state machine. Times are seconds of one monotonic clock."""

    def __init__(self) -> None:
        self._began_s: float | None = None
        self._budget_s = 0.0
        self._last_call_s = 0.0
        self._refusing = False
        self._done = False

    def begin(self, now: float, budget_s: float) -> None:
        """Begin; a second time changes nothing."""
        if self._began_s is None:
            self._began_s, self._budget_s, self._last_call_s = now, budget_s, now

    def call_came(self, now: float) -> None:
        """A call arrived although gateways were asked to send none."""
        self._last_call_s = now

    def phase(self, now: float, busy: int) -> Phase:
        """Where the drain stands; it never goes back. busy: calls in flight and waiting."""
        if self._began_s is None:
            return Phase.SERVING
        spent = now - self._began_s
        is_quiet = now - self._last_call_s >= QUIET_S
        self._refusing = self._refusing or is_quiet or spent >= ACCEPT_AT_MOST_S
        self._done = self._done or spent >= self._budget_s or (self._refusing and busy == 0)
        if self._done:
            return Phase.DONE
        return Phase.REFUSING if self._refusing else Phase.ANNOUNCED


class Drainer:
    """The drain of this instance. announce: called once when it begins, with the reason."""

    def __init__(self, busy: Callable[[], int], announce: Callable[[str], None], clock: Callable[[], float]) -> None:
        self._busy = busy
        self._announce = announce
        self._clock = clock
        self._state = DrainClock()
        # The host's preStop waits in a thread of the ops port
        self._began = threading.Event()
        self._done = threading.Event()

    @property
    def is_draining(self) -> bool:
        return self._began.is_set()

    @property
    def is_done(self) -> bool:
        return self._done.is_set()

    async def drain(self, reason: str, budget_s: float) -> int:
        """Drain, or join the drain that runs; returns what was left in flight when the time was over."""
        if not self.is_draining:
            log.info("drain begins", extra={"reason": reason, "budget_s": budget_s, "in_flight": self._busy()})
            self._state.begin(self._clock(), budget_s)
            self._began.set()
            self._announce(reason)
        while self._state.phase(self._clock(), self._busy()) is not Phase.DONE:  # noqa: ASYNC110 - time moves the phase
            await asyncio.sleep(_POLL_S)
        if not self.is_done:
            self._done.set()
            log.info("drain complete", extra={"in_flight": self._busy()})
        return self._busy()

    def gate(self) -> str | None:
        """Asked for each call while draining: None to serve it, else why not."""
        now = self._clock()
        if self._state.phase(now, busy=1) in (Phase.REFUSING, Phase.DONE):
            return "the instance is draining"
        self._state.call_came(now)
        return None

    def wait(self) -> tuple[int, str]:
        """For a thread: block until the drain is complete; return when none has begun within BEGIN_WITHIN_S."""
        if not self._began.wait(BEGIN_WITHIN_S):
            return 200, "no drain"
        self._done.wait()
        return 200, "drained"
