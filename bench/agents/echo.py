"""The agent under load: it answers with what it was sent."""

from switchboard import agent


@agent
async def echo(data: bytes) -> bytes:
    return data
