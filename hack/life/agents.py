"""The pool's code: it waits, as an agent does that has asked a model."""

import asyncio

from switchboard import agent

LONG = "a long text"


@agent
async def write(text: str) -> str:
    await asyncio.sleep(90 if text == LONG else 0.75)
    return text
