"""The process that makes the load: lines of JSON in (a Task), lines of JSON out (a Measured).

Only the standard library may be imported here: baselines run this in environments of their own.
"""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict
from functools import partial

from bench.load import Call, Measured, Stream, Task, closed_loop, open_loop, streaming_loop

# Garbage of the last measurement is collected before the next, not within it
SETTLE_S = 0.05


async def serve(calls: Sequence[Call]) -> None:
    """Say that the calls work, then measure what standard input asks for, until it ends.

    calls: one for each connection; a closed loop uses the first alone.
    """
    for call in calls:
        await call(b"x")

    async def measure(task: Task) -> Measured:
        return await (open_loop(calls, task) if task.rate else closed_loop(calls[0], task))

    await _answer_tasks(measure)


async def serve_stream(stream: Stream) -> None:
    """The same for calls whose answer comes in pieces."""
    async for _ in stream(b"x"):
        pass
    await _answer_tasks(partial(streaming_loop, stream))


async def _answer_tasks(measure: Callable[[Task], Awaitable[Measured]]) -> None:
    _say({"ready": True})
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        await asyncio.sleep(SETTLE_S)
        _say(asdict(await measure(Task(**json.loads(line)))))


def _say(answer: dict[str, object]) -> None:
    print(json.dumps(answer), flush=True)
