"""kopf as it runs its tasks, and one of them that loses its cancellation."""

import asyncio
import contextlib
from typing import Any

import kopf
import pytest

from switchboard_operator import ending


class WatchFailed(Exception):
    """What ends kopf here."""


async def fail() -> None:
    raise WatchFailed


async def lose_a_cancellation() -> None:
    """As a watcher does whose stream is just closing."""
    for _ in range(2):
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
    await asyncio.Event().wait()


async def test_kopf_ends_where_a_task_has_lost_its_cancellation(monkeypatch: pytest.MonkeyPatch) -> None:
    async def spawn(**_: Any) -> list[asyncio.Task[None]]:
        return [asyncio.create_task(fail()), asyncio.create_task(lose_a_cancellation())]

    monkeypatch.setattr(kopf, "spawn_tasks", spawn)
    monkeypatch.setattr(ending, "GRACE_S", 0.0)
    monkeypatch.setattr(ending, "AGAIN_S", 0.01)
    before = asyncio.all_tasks()
    async with asyncio.timeout(60):
        with pytest.raises(WatchFailed):
            await ending.run_kopf()
        while asyncio.all_tasks() != before:
            await asyncio.sleep(0.01)


async def test_while_kopf_runs_nothing_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = asyncio.Event()

    async def spawn(**_: Any) -> list[asyncio.Task[Any]]:
        return [asyncio.create_task(go_on.wait())]

    monkeypatch.setattr(kopf, "spawn_tasks", spawn)
    monkeypatch.setattr(ending, "GRACE_S", 0.0)
    running = asyncio.create_task(ending.run_kopf())
    for _ in range(100):
        await asyncio.sleep(0)
    go_on.set()
    async with asyncio.timeout(60):
        await running
