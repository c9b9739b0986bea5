"""Questions under way: each is asked once, however many wait for its answer."""

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, TypeVar

T = TypeVar("T")


class Flights:
    """Whoever asks what is being asked already waits for the same answer; giving up waiting ends nobody's question."""

    __slots__ = ("_tasks",)

    def __init__(self) -> None:
        self._tasks: dict[Hashable, asyncio.Task[Any]] = {}

    async def join(self, key: Hashable, ask: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """The answer, by a question that is under way or a new one. Raises what the question raises."""
        answer: T = await asyncio.shield(self.start(key, ask))
        return answer

    def start(self, key: Hashable, ask: Callable[[], Coroutine[Any, Any, T]]) -> "asyncio.Task[T]":
        """See that the question is under way, without waiting."""
        task = self._tasks.get(key)
        if task is None:
            task = self._tasks[key] = asyncio.create_task(ask())
            task.add_done_callback(lambda done: self._landed(key, done))
        return task

    def _landed(self, key: Hashable, task: "asyncio.Task[Any]") -> None:
        self._tasks.pop(key, None)
        if not task.cancelled():
            task.exception()  # seen: perhaps nobody waits any more
