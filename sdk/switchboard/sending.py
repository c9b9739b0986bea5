"""The pieces of a request, sent as the caller's iterator makes them."""

import asyncio
from collections.abc import AsyncIterator

from switchboard.content import encode
from switchboard_wire.calls import OutgoingCall, Payload


async def first_piece(source: AsyncIterator[object]) -> Payload:
    """The first piece goes with the OPEN and gives the call its content type."""
    try:
        return encode(await anext(source))
    except StopAsyncIteration:
        return Payload()


async def send_rest(call: OutgoingCall, rest: bytes, source: AsyncIterator[object] | None) -> None:
    """Send what the OPEN does not hold; what `source` raises ends the call."""
    try:
        if rest:
            await call.send(rest, end=source is None)
        if source is not None:
            async for piece in source:
                await call.send(encode(piece).data)
            call.half_close()
    except BaseException:
        call.cancel()
        raise


def raise_of(sending: asyncio.Task[None] | None) -> None:
    """What the caller's own iterator raised comes before what that did to the call."""
    if sending is not None and sending.done() and not sending.cancelled() and (error := sending.exception()):
        raise error from None
