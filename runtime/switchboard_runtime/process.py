"""Start and stop of a component's process: uvloop where there is one, SIGTERM and SIGINT as one event."""

import asyncio
import signal
from collections.abc import Awaitable, Callable

from switchboard_runtime.log import configure_logging

Main = Callable[[asyncio.Event], Awaitable[None]]


def run_component(component: str, main: Main) -> None:
    """Run `main(stop)` to its end. `stop` is set at SIGTERM or SIGINT; main then drains and returns."""
    configure_logging(component)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_with_signals(main))


async def _with_signals(main: Main) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await main(stop)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:  # the plain loop does the same, a sixth slower
        return None
    return uvloop.new_event_loop
