"""Payloads and answers that come in pieces, beside the path of one unary call."""

import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

from switchboard.host.hosted import HostedAgent
from switchboard.host.loading import Handler
from switchboard.host.signature import Kind
from switchboard.typed import Converter
from switchboard_wire.calls import IncomingCall

_END = object()


async def read_pieces(read: Converter, content_type: str, payload: IncomingCall | bytes) -> AsyncIterator[Any]:
    """The payload as a handler that takes pieces gets it. payload: bytes when the OPEN holds all of it."""
    if isinstance(payload, bytes):
        yield read(payload, content_type)
        return
    async for data in payload.pieces():
        if data:
            yield read(data, content_type)


async def run_in_pieces(agent: HostedAgent, handler: Handler, arguments: tuple[Any, ...]) -> AsyncIterator[Any]:
    """Run a handler that yields."""
    generator = handler.function(*arguments)
    if handler.signature.kind is Kind.ASYNC_GENERATOR:
        async with contextlib.aclosing(generator):
            async for piece in generator:
                yield piece
        return
    try:
        while (piece := await agent.in_thread(_next, generator)) is not _END:
            yield piece
    finally:
        await agent.in_thread(_close, generator)


def _next(generator: Iterator[Any]) -> Any:
    return next(generator, _END)


def _close(generator: Any) -> None:
    # A generator whose `next` still runs in its thread cannot be closed; it ends with its next piece
    with contextlib.suppress(ValueError):
        generator.close()
