"""Payloads and answers that come in pieces, beside the path of one unary call."""

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

from switchboard.host.hosted import HostedAgent, OnCut
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


async def run_in_pieces(
    agent: HostedAgent, handler: Handler, arguments: tuple[Any, ...], on_cut: OnCut
) -> AsyncGenerator[Any, None]:
    """Run a handler that yields."""
    generator = handler.function(*arguments)
    if handler.signature.kind is Kind.ASYNC_GENERATOR:
        async with contextlib.aclosing(generator):
            async for piece in generator:
                yield piece
        return
    steps = _Steps(generator)
    try:
        while (piece := await agent.in_thread(on_cut, steps.next)) is not _END:
            yield piece
    finally:
        await agent.in_thread(on_cut, steps.close)


class _Steps:
    """A generator that runs in threads, a piece at a time."""

    def __init__(self, generator: Any) -> None:
        self._generator = generator
        self._is_over = False

    def next(self) -> Any:
        piece = next(self._generator, _END)
        if self._is_over:
            self._generator.close()
        return piece

    def close(self) -> None:
        self._is_over = True
        # One whose `next` still runs in its thread cannot be closed here; it is at its next piece
        with contextlib.suppress(ValueError):
            self._generator.close()
