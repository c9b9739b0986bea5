"""The agents under load: they answer with what they were sent."""

from collections.abc import AsyncIterator

from switchboard import agent

PIECES = 100


@agent
async def echo(data: bytes) -> bytes:
    return data


@agent
async def pieces(data: bytes) -> AsyncIterator[bytes]:
    for _ in range(PIECES):
        yield data
