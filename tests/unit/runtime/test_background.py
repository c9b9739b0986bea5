"""Jobs beside what a process serves: none of them may be missing unseen."""

import asyncio

import pytest

from switchboard_runtime.background import in_background


async def for_ever() -> None:
    await asyncio.Event().wait()


async def fails() -> None:
    raise ValueError("no such luck")


async def test_a_job_that_fails_stops_the_process_and_is_its_error(caplog: pytest.LogCaptureFixture) -> None:
    stop = asyncio.Event()
    with pytest.raises(ValueError, match="no such luck"):
        async with in_background([for_ever(), fails()], stop), asyncio.timeout(60):
            await stop.wait()
    assert "fails failed: the process stops" in caplog.text


async def test_jobs_that_run_are_cancelled_at_the_end() -> None:
    stop, ends = asyncio.Event(), list[str]()

    async def tidy() -> None:
        try:
            await for_ever()
        finally:
            ends.append("tidy")

    async with in_background([tidy()], stop):
        await asyncio.sleep(0)
    assert (ends, stop.is_set()) == (["tidy"], False)
