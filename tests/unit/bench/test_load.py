"""The arithmetic of a measurement, and the two loops against calls that cost no time."""

import asyncio
import math
from collections import Counter
from collections.abc import AsyncGenerator

import pytest

from bench.load import Tally, Task, closed_loop, open_loop, percentile, streaming_loop, summarize

# Long enough that something is measured even where the machine does something else for tenths of it
SECONDS = 0.5


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [
        pytest.param([7.0], 0.5, 7.0, id="of one value every percentile is that value"),
        pytest.param([1.0, 2.0, 3.0, 4.0], 0.5, 2.0, id="half of four values are at most the second"),
        pytest.param([float(n) for n in range(1, 101)], 0.99, 99.0, id="99 of a hundred are at most the 99th"),
        pytest.param([float(n) for n in range(1, 101)], 0.9, 90.0, id="90 of a hundred are at most the 90th"),
        pytest.param([1.0, 2.0], 1.0, 2.0, id="all are at most the last"),
    ],
)
def test_a_percentile_is_the_smallest_value_that_covers_the_share(
    values: list[float], share: float, expected: float
) -> None:
    assert percentile(values, share) == expected


def test_nothing_measured_has_no_percentile() -> None:
    found = summarize(Tally(), 2.0)
    assert found.per_s == 0
    assert math.isnan(found.p50_ms)


def test_a_summary_counts_messages_per_second_and_failures_apart() -> None:
    found = summarize(Tally([0.003, 0.001, 0.002], messages=300, failures=Counter(TimeoutError=2)), 1.5)
    assert (found.per_s, found.p50_ms, found.p99_ms, found.errors) == (200.0, 2.0, 3.0, 2)


async def test_a_closed_loop_keeps_as_many_calls_under_way_as_it_is_told() -> None:
    under_way, most = 0, 0

    async def call(payload: bytes) -> object:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0)
        under_way -= 1
        return payload

    found = await closed_loop(call, Task(5, 10, SECONDS))
    assert most == 5
    assert found.per_s > 0


async def test_calls_that_fail_are_counted_and_not_timed() -> None:
    async def call(payload: bytes) -> object:
        await asyncio.sleep(0)
        raise ValueError("no")

    found = await closed_loop(call, Task(2, 10, SECONDS))
    assert found.per_s == 0
    assert found.failures == {"ValueError": found.errors}
    assert found.errors > 0


async def test_an_open_loop_starts_calls_when_they_are_due_and_charges_a_stall_to_all_that_it_delayed() -> None:
    stalled = asyncio.Event()

    async def call(payload: bytes) -> object:
        if not stalled.is_set():
            asyncio.get_running_loop().call_later(0.1, stalled.set)
        await stalled.wait()
        return payload

    found = await open_loop([call], Task(0, 10, 0.2, rate=500))
    # The warm-up takes 20 ms, so calls due from then to 100 ms waited, two fifths of all, the first for 80 ms. Were
    # only calls timed that could be sent meanwhile, no percentile would show it
    assert found.per_s == pytest.approx(500, rel=0.05)
    assert found.p90_ms > 50
    assert found.p99_ms > 70


async def test_an_open_loop_uses_its_connections_in_turn() -> None:
    used = [0, 0]

    async def first(payload: bytes) -> object:
        used[0] += 1
        return payload

    async def second(payload: bytes) -> object:
        used[1] += 1
        return payload

    await open_loop([first, second], Task(0, 1, 0.05, rate=1000))
    assert sum(used) == 55
    assert abs(used[0] - used[1]) <= 1


async def test_a_streaming_loop_counts_pieces_and_times_the_first() -> None:
    async def stream(payload: bytes) -> AsyncGenerator[bytes, None]:
        for _ in range(10):
            await asyncio.sleep(0)
            yield payload

    found = await streaming_loop(stream, Task(2, 10, SECONDS))
    assert found.per_s > 0
    assert found.p50_ms > 0
    assert found.errors == 0


async def test_pieces_of_the_wrong_size_are_failures() -> None:
    async def stream(payload: bytes) -> AsyncGenerator[bytes, None]:
        await asyncio.sleep(0)
        yield payload[1:]

    assert (await streaming_loop(stream, Task(1, 10, SECONDS))).errors > 0
