"""The agent of `helm test`: it answers with what it was sent."""

from switchboard import agent


@agent
async def echo(text: str) -> str:
    return text
