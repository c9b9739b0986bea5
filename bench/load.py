"""A closed loop: so many workers, each with one call in flight, for so long."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

Call = Callable[[], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Measured:
    """calls per second and latency percentiles of one round."""

    per_s: float
    p50_ms: float
    p90_ms: float
    p99_ms: float


async def closed_loop(call: Call, in_flight: int, seconds: float) -> Measured:
    """Keep `in_flight` calls under way; the first tenth of the time warms up and is not counted."""
    clock = time.perf_counter
    latencies: list[float] = []
    begin = clock() + seconds / 10
    end = begin + seconds

    async def worker() -> None:
        started = clock()
        while started < end:
            await call()
            now = clock()
            if started >= begin:
                latencies.append(now - started)
            started = now

    await asyncio.gather(*(worker() for _ in range(in_flight)))
    return summarize(latencies, clock() - begin)


def summarize(latencies: list[float], seconds: float) -> Measured:
    ordered = sorted(latencies)

    def percentile(share: float) -> float:
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000 if ordered else float("nan")

    return Measured(len(ordered) / seconds, percentile(0.50), percentile(0.90), percentile(0.99))
