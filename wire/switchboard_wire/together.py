"""Work that belongs together: it ends when the first part of it does."""

import asyncio
from collections.abc import Coroutine
from typing import Any


async def first_end(*work: Coroutine[Any, Any, None]) -> BaseException | None:
    """Run both directions of a stream until one ends, and stop the rest. Returns what it failed with, if it did."""
    tasks = [asyncio.create_task(each) for each in work]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    failed = [task.exception() for task in done if not task.cancelled()]
    return next((error for error in failed if error is not None), None)
