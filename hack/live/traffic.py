"""Steady traffic from this machine, every call counted: who answered, and what failed with which words.

All senders are threads over one client: grpc.aio has one poller for all event loops of a process, and complains when
one of them is closed before the others.
"""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Unpack

from live.waiting import NotYet, wait_until
from switchboard import CallOptions, SwitchboardError, SyncClient

STOP_S = 60.0
FAILURES_KEPT = 20


@dataclass(frozen=True, slots=True)
class Load:
    """What is sent. per_second: of all senders together, 0 for as many as are answered."""

    target: str
    payload: object
    senders: int = 8
    per_second: float = 0


@dataclass(slots=True)
class Tally:
    """What became of the calls so far. Many threads write and read it."""

    sent: int = 0
    answered: int = 0
    failed: int = 0
    by_instance: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def count_sent(self) -> None:
        with self._lock:
            self.sent += 1

    def count_answer(self, instance: str) -> None:
        with self._lock:
            self.by_instance[instance] += 1
            self.answered += 1

    def count_failure(self, error: Exception) -> None:
        with self._lock:
            if len(self.failures) < FAILURES_KEPT:
                self.failures.append(f"{type(error).__name__}: {error}")
            self.failed += 1

    def wait_for(self, more: int, timeout_s: float = 120) -> None:
        """Return when so many more calls than now have been answered. Raises Late."""
        goal = self.answered + more

        def look() -> bool:
            if self.answered < goal:
                raise NotYet(f"{self.answered} answered, {self.failed} failed: {self.failures[:3]}")
            return True

        wait_until(look, f"{more} more answers", timeout_s)


@contextmanager
def traffic(client: SyncClient, load: Load, **options: Unpack[CallOptions]) -> Iterator[Tally]:
    """Send while the context is open; the tally is final after it, when all calls under way have ended."""
    tally, stopped = Tally(), threading.Event()
    threads = [
        threading.Thread(target=_send, args=(client, load, options, tally, stopped), daemon=True)
        for _ in range(load.senders)
    ]
    for thread in threads:
        thread.start()
    try:
        yield tally
    finally:
        stopped.set()
        deadline = time.monotonic() + STOP_S
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
    if any(thread.is_alive() for thread in threads):
        raise TimeoutError(f"calls were still under way {STOP_S:.0f} s after the last was sent")


def _send(client: SyncClient, load: Load, options: CallOptions, tally: Tally, stopped: threading.Event) -> None:
    pause_s = load.senders / load.per_second if load.per_second else 0.0
    while not stopped.is_set():
        began = time.monotonic()
        tally.count_sent()
        try:
            answer = client.request(load.target, load.payload, **options)
        except SwitchboardError as error:
            tally.count_failure(error)
        else:
            tally.count_answer(answer.instance)
        stopped.wait(max(0.0, pause_s - (time.monotonic() - began)))
