"""Child processes of `switchboard dev`: started, read line by line, and surely ended."""

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Callable, Mapping

# What a process is given after SIGTERM before SIGKILL
STOP_S = 5.0
# Of a line that it logs; a longer one is not shown
MAX_LINE_BYTES = 1 << 20
_PR_SET_PDEATHSIG = 1  # prctl(2)


class Child:
    """One process `python -m MODULE`; its stderr goes to `on_line`, its stdout stays ours. waits: until `go_on`."""

    def __init__(
        self,
        name: str,
        module: str,
        env: Mapping[str, str],
        on_line: Callable[[str, str], object],
        *,
        waits: bool = False,
    ) -> None:
        self.name = name
        self._waits = waits
        self._module = module
        self._env = env
        self._on_line = on_line
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start it, in a session of its own: Ctrl-C reaches `switchboard dev` alone, which then ends it."""
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            self._module,
            env={**os.environ, **self._env},
            stdin=asyncio.subprocess.PIPE if self._waits else asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            limit=MAX_LINE_BYTES,
            start_new_session=True,
            preexec_fn=_end_with_parent if sys.platform == "linux" else None,
        )
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self._process is not None
        assert self._process.stderr is not None
        stderr, is_rest = self._process.stderr, False
        while True:
            try:
                line = await stderr.readuntil()
            except asyncio.IncompleteReadError as end:
                line = end.partial
            except asyncio.LimitOverrunError as error:  # what is there of it goes, or nothing after it would be read
                await stderr.readexactly(error.consumed)
                if not is_rest:
                    self._on_line(self.name, f"{self.name}: a line of over {MAX_LINE_BYTES} bytes is not shown")
                is_rest = True
                continue
            if not line:
                return
            if not is_rest:
                self._on_line(self.name, line.decode(errors="replace").rstrip("\n"))
            is_rest = False

    def go_on(self) -> None:
        """Tell a process that waits to go on."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(b"\n")

    async def wait(self) -> int:
        """Wait for its end; returns its status."""
        assert self._process is not None
        status = await self._process.wait()
        if self._reading is not None:
            await self._reading
        return status

    async def stop(self) -> None:
        """SIGTERM, then SIGKILL; returns when it is gone."""
        process = self._process
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(self.wait(), STOP_S)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


def _end_with_parent() -> None:
    """In the child: SIGTERM when the parent dies, so that not even `kill -9` leaves processes behind."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
