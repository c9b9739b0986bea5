"""Start and stop of a component's process: uvloop where there is one, SIGTERM and SIGINT as one event."""

import asyncio
import gc
import resource
import signal
from collections.abc import Awaitable, Callable

from switchboard_runtime.log import configure_logging

Main = Callable[[asyncio.Event], Awaitable[None]]

# Calls leave no reference cycles behind (0.01 objects per REST call), yet by Python's 700 the collector went through
# those under way so often that it took 15 % of the gateway's time with 64 connections, 29 % with 300; so it takes 2 %.
GC_THRESHOLDS = (100_000, 50, 100)
MAX_FILES = 65_536


def run_component(component: str, main: Main) -> None:
    """Run `main(stop)` to its end. `stop` is set at SIGTERM or SIGINT; main then drains and returns."""
    configure_logging(component)
    gc.freeze()  # what was imported stays
    gc.set_threshold(*GC_THRESHOLDS)
    _allow_files()
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(_with_signals(main))


async def _with_signals(main: Main) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await main(stop)


def _allow_files() -> None:
    """Raise the soft limit of open files: 1024 is for programs that use select(), and a gateway has more clients."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_FILES if hard == resource.RLIM_INFINITY else min(MAX_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """What makes a process's event loops; None: the plain one of asyncio."""
    try:
        import uvloop
    except ImportError:  # the plain loop does the same, a sixth slower
        return None
    return uvloop.new_event_loop
