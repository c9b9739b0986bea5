"""Jobs that run as long as a process serves."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Coroutine, Iterable
from typing import Any

log = logging.getLogger("switchboard.background")


@contextlib.asynccontextmanager
async def in_background(jobs: Iterable[Coroutine[Any, Any, None]], stop: asyncio.Event) -> AsyncIterator[None]:
    """Run jobs that never end while the body runs, and cancel them after it.

    One that fails sets `stop`, upon which the body is to end, and its error is raised then: a process without one of
    its jobs looks healthy and is not, and is better started anew.
    """
    failures: list[BaseException] = []

    def ended(task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            log.critical("%s failed: the process stops", task.get_name(), exc_info=error)
            failures.append(error)
            stop.set()

    tasks = [asyncio.create_task(job, name=getattr(job, "__qualname__", "")) for job in jobs]
    for task in tasks:
        task.add_done_callback(ended)
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    if failures:
        raise failures[0]
