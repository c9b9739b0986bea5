"""The host of `switchboard dev`, and its successor: a change takes over only once it has loaded as a whole."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path

from switchboard_cli.dev_feed import Feed, Record
from switchboard_cli.dev_process import Child

# A file's time older than this says when it was made elsewhere, not when it was saved here
FRESH_S = 2.0

OnLine = Callable[[str, str], Record | None]


@dataclass(frozen=True, slots=True)
class HostPlan:
    """The environment of hosts. successor: what it has beside for one that waits and then loads before it joins; None
    when there are to be none. reachable: waits until the gateway knows these agents."""

    env: Mapping[str, str]
    successor: Mapping[str, str] | None
    reachable: Callable[[Collection[str]], Awaitable[object]]


class Hosts:
    """One host serves; a spare one, started ahead because Python takes longest to start, waits to load the next change.

    stopping: no end of a host is worth a word any more.
    """

    def __init__(self, plan: HostPlan, feed: Feed, stopping: asyncio.Event) -> None:
        self._plan = plan
        self._feed = feed
        self._stopping = stopping
        self._serving: _Host | None = None
        self._spare: _Host | None = None
        self._count = 0
        self._reloading: asyncio.Task[None] | None = None
        self._others: set[asyncio.Task[None]] = set()

    async def start(self) -> list[str] | None:
        """Start the first host; returns the agents that are ready, none of them when a change has overtaken it.

        None: no agent came to be ready.
        """
        self._serving = host = await self._new({})
        self._beside(self._tell_end(host))
        ready = await host.ready
        await self._start_spare()
        return [] if host is not self._serving else ready or None

    async def reload(self, changed: str, saved: float) -> None:
        """Begin to load what was changed; what still loads an older state is ended. saved: in seconds of this clock."""
        if self._reloading is not None:
            self._reloading.cancel()
            await asyncio.gather(self._reloading, return_exceptions=True)
        self._reloading = asyncio.create_task(self._replace(changed, saved))

    async def stop(self) -> None:
        """End every host; returns when they are gone."""
        if self._reloading is not None:
            self._reloading.cancel()
            await asyncio.gather(self._reloading, return_exceptions=True)
        hosts = [host.child.stop() for host in (self._serving, self._spare) if host is not None]
        await asyncio.gather(*hosts, *self._others, return_exceptions=True)

    async def _replace(self, changed: str, saved: float) -> None:
        await self._start_spare()
        host, self._spare = self._spare, None
        if host is None:
            return
        try:
            host.child.go_on()
            ready = await host.ready
        except asyncio.CancelledError:
            await host.child.stop()
            raise
        if ready is None:
            await host.child.stop()
            self._feed.say(f"not reloaded: {changed} has an error, the code from before serves on", bad=True)
        else:
            old, self._serving = self._serving, host
            self._beside(self._tell_end(host))
            if old is not None:
                self._beside(old.child.stop())
            await self._plan.reachable(ready)
            took = f"{time.monotonic() - saved:.1f} s"
            self._feed.say(f"reloaded in {took} after a change of {changed}: {', '.join(ready)}")
        await self._start_spare()

    async def _start_spare(self) -> None:
        if self._plan.successor is not None and self._spare is None:
            self._spare = await self._new(self._plan.successor)

    async def _new(self, more: Mapping[str, str]) -> "_Host":
        self._count += 1
        host = _Host(f"host {self._count}", {**self._plan.env, **more}, self._feed.line, waits=bool(more))
        await host.child.start()
        self._beside(host.watch())
        return host

    async def _tell_end(self, host: "_Host") -> None:
        status = await host.child.wait()
        if host is self._serving and not self._stopping.is_set():
            hope = "; a change starts it anew" if self._plan.successor is not None else ""
            self._feed.say(f"the host ended with status {status}{hope}", bad=True)

    def _beside(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.create_task(work)
        self._others.add(task)
        task.add_done_callback(self._others.discard)


class _Host:
    """One process. ready: its agents once it serves them; None when it ended before."""

    def __init__(self, name: str, env: Mapping[str, str], on_line: OnLine, *, waits: bool) -> None:
        self._on_line = on_line
        self.ready: asyncio.Future[list[str] | None] = asyncio.get_running_loop().create_future()
        self.child = Child(name, "switchboard.host", env, self._line, waits=waits)

    def _line(self, name: str, text: str) -> None:
        record = self._on_line(name, text)
        if record is not None and record["message"] == "assignments applied" and not self.ready.done():
            self.ready.set_result(record["ready"])

    async def watch(self) -> None:
        await self.child.wait()
        if not self.ready.done():
            self.ready.set_result(None)


def saved_at(path: Path) -> float:
    """When a file was saved, by the monotonic clock: its own time if that was a moment ago, otherwise now."""
    with contextlib.suppress(OSError):
        age_s = time.time() - path.stat().st_mtime
        if 0 <= age_s <= FRESH_S:
            return time.monotonic() - age_s
    return time.monotonic()
