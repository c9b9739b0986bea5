"""What a measurement asks for and gives, and the two ways of loading: closed loop and open loop.

Only the standard library may be imported here: baselines run this in environments of their own.
"""

import asyncio
import contextlib
import ctypes
import os
import time
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field

Call = Callable[[bytes], Awaitable[object]]
Stream = Callable[
    [bytes], AsyncGenerator[bytes, None]
]  # calls whose answer comes in pieces, each as large as the payload

CLOCK_MONOTONIC = 1
NANO = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Task:
    """One measurement. payload: bytes each way. rate: calls per second of an open loop; 0: a closed loop."""

    in_flight: int
    payload: int
    seconds: float
    rate: float = 0.0


@dataclass(frozen=True, slots=True)
class Measured:
    """Calls (or messages) per second and latency percentiles of one round.

    Calls that failed are in `errors` alone; failures says how many of which type of exception, where that is known.
    """

    per_s: float
    p50_ms: float
    p90_ms: float
    p99_ms: float
    errors: int = 0
    failures: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class Tally:
    """What a loop has seen: seconds per call, messages where a call carries several, failures by type of exception."""

    latencies: list[float] = field(default_factory=list)
    messages: int = 0
    failures: Counter[str] = field(default_factory=Counter)

    def failed(self, error: Exception) -> None:
        """Count a call that failed. Loops give everything here: each client has exceptions of its own."""
        self.failures[type(error).__name__] += 1


async def closed_loop(call: Call, task: Task) -> Measured:
    """Keep task.in_flight calls under way; the first tenth of the time warms up and is not counted."""
    clock = time.perf_counter
    payload = b"x" * task.payload
    found = Tally()
    begin = clock() + task.seconds / 10
    end = begin + task.seconds

    async def worker() -> None:
        started = clock()
        while started < end:
            try:
                await call(payload)
            except Exception as error:  # noqa: BLE001 - told by type
                found.failed(error)
                started = clock()
                continue
            now = clock()
            if started >= begin:
                found.messages += 1
                found.latencies.append(now - started)
            started = now

    await asyncio.gather(*(worker() for _ in range(task.in_flight)))
    return summarize(found, clock() - begin)


async def streaming_loop(stream: Stream, task: Task) -> Measured:
    """Keep task.in_flight streaming calls under way: pieces that came in the time, and how long the first ones took.

    Calls that are still under way at the end are given up.
    """
    clock = time.perf_counter
    payload = b"x" * task.payload
    found = Tally()
    begin = clock() + task.seconds / 10
    end = begin + task.seconds

    async def worker() -> None:
        while (started := clock()) < end:
            is_first = True
            try:
                async with contextlib.aclosing(stream(payload)) as pieces:
                    async for piece in pieces:
                        now = clock()
                        if now >= end:
                            return
                        if len(piece) != len(payload):
                            raise ValueError("the piece is not what was sent")
                        found.messages += now >= begin
                        if is_first and started >= begin:
                            found.latencies.append(now - started)
                        is_first = False
            except Exception as error:  # noqa: BLE001 - told by type
                found.failed(error)

    workers = [asyncio.create_task(worker()) for _ in range(task.in_flight)]
    await asyncio.wait(workers, timeout=end - clock())
    for running in workers:
        running.cancel()
    await asyncio.gather(*workers, return_exceptions=True)
    return summarize(found, task.seconds)


async def open_loop(calls: Sequence[Call], task: Task) -> Measured:
    """Start task.rate calls per second over the connections in turn, whether or not earlier ones were answered.

    A call's latency counts from when it was due, so that a stall is charged to every call that it delayed (no
    coordinated omission). The first tenth of the time warms up.
    """
    payload = b"x" * task.payload
    found = Tally()
    warm_up = task.seconds / 10
    due = int((task.seconds + warm_up) * task.rate)
    pending: set[asyncio.Task[None]] = set()

    async def one(number: int, at: float) -> None:
        try:
            await calls[number % len(calls)](payload)
        except Exception as error:  # noqa: BLE001 - told by type
            found.failed(error)
            return
        if at >= begin:
            found.messages += 1
            found.latencies.append(time.monotonic() - at)

    start = time.monotonic() + 0.01
    begin = start + warm_up
    async with _Ticks(start, 1 / task.rate) as ticks:
        number = 0
        while number < due:
            for _ in range(min(await ticks.get(), due - number)):
                running = asyncio.create_task(one(number, start + number / task.rate))
                pending.add(running)
                running.add_done_callback(pending.discard)
                number += 1
    if pending:
        await asyncio.wait(pending)
    return summarize(found, task.seconds)


def summarize(found: Tally, seconds: float) -> Measured:
    """The figures of a round that took so long."""
    ordered = sorted(found.latencies)
    p50, p90, p99 = (percentile(ordered, share) * 1000 for share in (0.50, 0.90, 0.99))
    failures = dict(found.failures)
    return Measured(found.messages / seconds, p50, p90, p99, sum(failures.values()), failures)


def percentile(ordered: Sequence[float], share: float) -> float:
    """The smallest value that is at least as great as this share of the sorted values; NaN of none."""
    if not ordered:
        return float("nan")
    return ordered[min(len(ordered) - 1, max(0, -int(-len(ordered) * share // 1) - 1))]


class _Ticks:
    """Counts of due calls, from a timer of the kernel: an event loop's own timers are a millisecond coarse."""

    def __init__(self, start: float, interval_s: float) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._times = (start, interval_s)
        self._due: asyncio.Queue[int] = asyncio.Queue()

    async def __aenter__(self) -> "asyncio.Queue[int]":
        self._file = self._libc.timerfd_create(CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
        if self._file < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")
        start, interval = (int(value * NANO) for value in self._times)
        setting = (ctypes.c_long * 4)(interval // NANO, interval % NANO, start // NANO, start % NANO)
        if self._libc.timerfd_settime(self._file, 1, setting, None):  # 1: the start is a time, not a distance
            raise OSError(ctypes.get_errno(), "timerfd_settime")
        asyncio.get_running_loop().add_reader(self._file, self._read)
        return self._due

    def _read(self) -> None:
        self._due.put_nowait(int.from_bytes(os.read(self._file, 8), "little"))

    async def __aexit__(self, *_: object) -> None:
        asyncio.get_running_loop().remove_reader(self._file)
        os.close(self._file)
