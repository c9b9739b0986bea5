"""Answers that go out while they come in: server-sent events, and raw bytes."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING

from aiohttp import web

from switchboard_gateway.rest import answers
from switchboard_gateway.rest.events import COMMENT, EVENT_STREAM, Pieces, encode_event
from switchboard_gateway.rest.limits import RestLimits
from switchboard_gateway.rest.problems import to_problem
from switchboard_wire.errors import SwitchboardError
from switchboard_wire.v1 import frames_pb2 as pb

if TYPE_CHECKING:
    from switchboard_gateway.rest.execute import Call


async def stream_events(request: web.Request, call: "Call", limits: RestLimits) -> web.StreamResponse:
    """Each piece as an event, then `done` or `error`.

    An error before the first piece is raised, so that it becomes a status; unless it comes after `event_idle_s`, when
    the stream has begun with a comment.
    """
    response = web.StreamResponse(headers={"Content-Type": EVENT_STREAM, "Cache-Control": "no-cache, no-transform"})
    pieces = Pieces()
    try:
        async with aclosing(_with_silences(call.pieces(), limits.event_idle_s)) as frames:
            async for frame in frames:
                data = COMMENT if frame is None else pieces.encode(frame.data, frame.content_type)
                await _write(request, response, data)
        answer = await call.end()
    except SwitchboardError as error:
        if not response.prepared:
            raise
        await response.write(pieces.finish() + encode_event(to_problem(error.error).body.decode(), "error"))
        return response
    last = pieces.encode(answer.close.data, answer.close.content_type) + pieces.finish()
    await _write(request, response, last + encode_event(answers.to_summary(answer).decode(), "done"))
    return response


async def _write(request: web.Request, response: web.StreamResponse, data: bytes) -> None:
    if not response.prepared:
        await response.prepare(request)
    if data:
        await response.write(data)


async def _with_silences(
    frames: AsyncGenerator[pb.Frame, None], idle_s: float
) -> AsyncGenerator[pb.Frame | None, None]:
    """The frames, and None whenever none came for so long."""
    coming = asyncio.ensure_future(anext(frames, _END))
    try:
        while True:
            done, _ = await asyncio.wait((coming,), timeout=idle_s)
            if not done:
                yield None
                continue
            frame = coming.result()
            if frame is _END:
                return
            yield frame
            coming = asyncio.ensure_future(anext(frames, _END))
    finally:
        coming.cancel()
        await asyncio.wait((coming,))
        if not coming.cancelled():
            coming.exception()  # nobody else asks for it


_END = pb.Frame()


async def stream_raw(request: web.Request, call: "Call") -> web.StreamResponse:
    """The payload itself: in one response, or as it comes when the handler streams.

    An answer that fails half way breaks off, so that nobody takes the half for the whole.
    """
    async with aclosing(call.pieces()) as frames:
        first = await anext(frames, None)
        if first is None:
            answer = await call.end()
            return web.Response(body=answer.close.data, headers=answers.to_headers(answer))
        headers = {
            "Content-Type": answers.safe_content_type(first.content_type),
            "X-Content-Type-Options": "nosniff",
            answers.MESSAGE_ID: call.message_id,
            answers.AGENT: call.agent,
        }
        response = web.StreamResponse(headers=headers)
        await response.prepare(request)
        await response.write(first.data)
        try:
            async for frame in frames:
                await response.write(frame.data)
            await response.write((await call.end()).close.data)
        except SwitchboardError:
            if request.transport is not None:
                request.transport.abort()
        return response
