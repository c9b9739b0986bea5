"""Steady traffic from this machine, every call counted: who answered, and what failed with which words."""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Unpack

from live.waiting import NotYet, wait_until
from switchboard import CallOptions, Client, SwitchboardError

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
    """What became of the calls so far. Written by one thread, read by any."""

    sent: int = 0
    answered: int = 0
    failed: int = 0
    by_instance: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    slowest_s: float = 0.0

    def count_answer(self, instance: str, took_s: float) -> None:
        self.by_instance[instance] += 1
        self.answered += 1
        self.slowest_s = max(self.slowest_s, took_s)

    def count_failure(self, error: SwitchboardError) -> None:
        if len(self.failures) < FAILURES_KEPT:
            self.failures.append(str(error))
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
def traffic(address: str, load: Load, **options: Unpack[CallOptions]) -> Iterator[Tally]:
    """Send while the context is open; the tally is final after it, when all calls under way have ended."""
    tally, stopped = Tally(), threading.Event()
    faults: list[BaseException] = []

    def run() -> None:
        try:
            asyncio.run(_send_all(address, load, options, tally, stopped))
        except BaseException as fault:  # noqa: BLE001  the thread's outermost frame: raised again by the context
            faults.append(fault)

    thread = threading.Thread(target=run, name="traffic", daemon=True)
    thread.start()
    try:
        yield tally
    finally:
        stopped.set()
        thread.join(STOP_S)
    if thread.is_alive():
        raise TimeoutError(f"calls were still under way {STOP_S:.0f} s after the last was sent")
    if faults:
        raise faults[0]


async def _send_all(address: str, load: Load, options: CallOptions, tally: Tally, stopped: threading.Event) -> None:
    async with Client(address, timeout_s=30) as client, asyncio.TaskGroup() as group:
        for number in range(load.senders):
            group.create_task(_send(client, load, options, tally, stopped, number))


async def _send(
    client: Client, load: Load, options: CallOptions, tally: Tally, stopped: threading.Event, number: int
) -> None:
    pause_s = load.senders / load.per_second if load.per_second else 0.0
    await asyncio.sleep(pause_s * number / load.senders)  # senders take turns
    while not stopped.is_set():
        began = time.monotonic()
        tally.sent += 1
        try:
            answer = await client.request(load.target, load.payload, **options)
        except SwitchboardError as error:
            tally.count_failure(error)
        else:
            tally.count_answer(answer.instance, time.monotonic() - began)
        await asyncio.sleep(max(0.0, pause_s - (time.monotonic() - began)))
