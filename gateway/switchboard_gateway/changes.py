"""A signal that many may wait for: something that they read has changed."""

import asyncio


class Changes:
    """Counts changes; whoever has seen one version waits for the next. Nothing is kept per waiter but its wait."""

    __slots__ = ("_next", "version")

    def __init__(self) -> None:
        self.version = 0
        self._next = asyncio.Event()

    def note(self) -> None:
        """Something changed."""
        self.version += 1
        self._next.set()
        self._next = asyncio.Event()

    async def wait(self, seen: int) -> int:
        """Wait until the version is another than `seen`; returns it."""
        while self.version == seen:
            await self._next.wait()
        return self.version
