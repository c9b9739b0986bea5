"""kopf's run, which ends also where a cancellation has been lost.

kopf ends when one of its root tasks does. It cancels the others once, and waits for them without a limit; yet a watcher
whose stream is just closing takes its own cancellation for the stream's and goes on, and a scheduler whose cleaner was
cancelled before its workers is never told that they are gone. A replica would look healthy then and watch nothing.
"""

import asyncio
import logging
from collections.abc import Collection
from typing import Any, Final

import kopf

log = logging.getLogger(__name__)

# kopf itself gives streams 2 s and then all that is left another 5
GRACE_S: Final = 30.0
AGAIN_S: Final = 1.0


async def run_kopf(**options: Any) -> None:
    """`kopf.operator`, whose tasks are cancelled again and again when they do not end. Raises what ended it."""
    others = asyncio.all_tasks()
    roots = await kopf.spawn_tasks(**options)
    hurrying = asyncio.create_task(_hurry(roots, others))
    try:
        await kopf.run_tasks(roots, ignored={*others, hurrying})
    finally:
        hurrying.cancel()


async def _hurry(roots: Collection[asyncio.Task[None]], others: Collection[asyncio.Task[Any]]) -> None:
    await asyncio.wait(roots, return_when=asyncio.FIRST_COMPLETED)
    await asyncio.sleep(GRACE_S)
    while True:
        left = asyncio.all_tasks().difference(others, {asyncio.current_task()})
        log.warning("kopf has not ended yet: cancelling %d tasks again", len(left))
        for task in left:
            task.cancel()
        await asyncio.sleep(AGAIN_S)
