"""Whether a user's HTTP server is well: its port, or the path that it gives for it, looked at again and again."""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import aiohttp

ADDRESS: Final = "127.0.0.1"
UNTIL_READY_S: Final = 0.25
PERIOD_S: Final = 2.0
# A server that is busy may miss one look: as kubelet's probes, it is unwell after three
FAILURES: Final = 3
PATIENCE_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Look:
    """What one look found. fault: empty when it is well. is_gone: nobody is there, which needs no second look."""

    fault: str = ""
    is_gone: bool = False


class Health:
    """Pure: looks in, a change out. fault: why it is not well; empty when it is."""

    def __init__(self) -> None:
        self.fault = "it was not looked at yet"
        self._failed = 0

    def take(self, look: Look) -> bool:
        """Account for a look; whether being well, or the fault, changed."""
        before = self.fault
        self._failed = self._failed + 1 if look.fault else 0
        if not look.fault or look.is_gone or before or self._failed >= FAILURES:
            self.fault = look.fault
        return self.fault != before


async def watch(
    session: aiohttp.ClientSession, place: Callable[[], tuple[int, str]], tell: Callable[[str], None]
) -> None:
    """Look for ever. place: port and path of now. tell: told of each change, with the fault."""
    health = Health()
    while True:
        port, path = place()
        if health.take(await _look(session, port, path)):
            tell(health.fault)
        await asyncio.sleep(UNTIL_READY_S if health.fault else PERIOD_S)


async def _look(session: aiohttp.ClientSession, port: int, path: str) -> Look:
    return await _get(session, port, path) if path else await _connect(port)


async def _get(session: aiohttp.ClientSession, port: int, path: str) -> Look:
    try:
        async with asyncio.timeout(PATIENCE_S):
            async with session.get(f"http://{ADDRESS}:{port}{path}", allow_redirects=False) as response:
                if 200 <= response.status < 400:
                    return Look()
                return Look(f"GET {path} on port {port} answered {response.status}")
    except aiohttp.ClientConnectorError:
        return Look(f"nothing answers on port {port}", is_gone=True)
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        why = f"no answer in {PATIENCE_S:g} s" if isinstance(error, TimeoutError) else type(error).__name__
        return Look(f"GET {path} on port {port}: {why}")


async def _connect(port: int) -> Look:
    try:
        async with asyncio.timeout(1):
            _, writer = await asyncio.open_connection(ADDRESS, port)
    except (OSError, TimeoutError):
        return Look(f"nothing answers on port {port}", is_gone=True)
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return Look()
