"""Request bodies, read as far as they may be."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import StreamReader, web

from switchboard_gateway.core import Core
from switchboard_gateway.rest.json_body import invalid
from switchboard_gateway.rest.limits import RestLimits
from switchboard_gateway.selection import select
from switchboard_wire.calls import OutgoingCall
from switchboard_wire.errors import SwitchboardError, failure
from switchboard_wire.limits import DEFAULT_MAX_PAYLOAD_BYTES, MAX_DATA_BYTES
from switchboard_wire.v1 import frames_pb2 as pb

_BROKEN_BODY = (web.RequestPayloadError, web.PayloadAccessError)


class Buffered:
    """Bytes that are kept whole, over all requests."""

    __slots__ = ("_limit", "_used")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._used = 0

    def share(self) -> "Share":
        """What one request keeps; given back when the context ends."""
        return Share(self)

    def take(self, size: int) -> None:
        if self._used + size > self._limit:
            message = "the gateway holds as many bytes of requests and answers as it may"
            raise failure(pb.OVERLOADED, message, retry_after_ms=1000)
        self._used += size

    def give(self, size: int) -> None:
        self._used -= size


class Share:
    """One request's part of the bytes that are kept."""

    __slots__ = ("_of", "size")

    def __init__(self, of: Buffered) -> None:
        self._of = of
        self.size = 0

    def __enter__(self) -> "Share":
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """Give all of it back."""
        self._of.give(self.size)
        self.size = 0

    def add(self, size: int) -> None:
        """Account for more bytes. Raises SwitchboardError OVERLOADED when all requests together keep too many."""
        self._of.take(size)
        self.size += size

    def remove(self, size: int) -> None:
        """Give bytes back before the end."""
        self._of.give(size)
        self.size -= size


def payload_limit(core: Core, target: pb.Target) -> int:
    """The largest maxPayloadBytes among the Agents that could answer. Raises SwitchboardError when none could.

    A topic to which nobody is subscribed takes what an Agent takes that does not say.
    """
    table = core.table
    namespace = target.namespace or core.namespace
    if target.topic:
        subscribers = table.declared.subscribers(namespace, target.topic)
        return max((policy.max_payload_bytes for policy in subscribers), default=DEFAULT_MAX_PAYLOAD_BYTES)
    if target.type:
        routes = table.by_type.get((namespace, target.type))
    else:
        routes = table.by_capability.get((namespace, target.capability))
    if not routes:
        select(table, pb.Frame(open=pb.Open(target=target)), namespace, core.rng)  # it raises, with what there is
        raise AssertionError("an Agent without a route was selected")
    if len(routes) == 1:
        return routes[0].policy.max_payload_bytes
    return max(route.policy.max_payload_bytes for route in routes)


async def read_json(request: web.Request, limit: int, limits: RestLimits, share: Share) -> bytes:
    """A whole JSON body. Raises SwitchboardError PAYLOAD_TOO_LARGE as soon as it is known to be over `limit`."""
    length = request.content_length
    if length is not None and length > limit:
        raise too_large(limit)
    content = request.content
    if content.is_eof():  # it came with the headers: nothing to wait for
        body = content.read_nowait()
        if len(body) > limit:
            raise too_large(limit)
        share.add(len(body))
        return body
    parts: list[bytes] = []
    size = 0
    async with _in_all(limits):
        while chunk := await _next(content, limits):
            size += len(chunk)
            if size > limit:
                raise too_large(limit)
            share.add(len(chunk))
            parts.append(chunk)
    return b"".join(parts)


async def read_first(request: web.Request, limits: RestLimits) -> tuple[bytes, bool]:
    """The beginning of a raw body, and whether that is all: one frame's worth if it is known to fit, else a piece."""
    content = request.content
    length = request.content_length
    if content.is_eof():
        return content.read_nowait(), True
    first = b""
    async with _in_all(limits):
        while chunk := await _next(content, limits):
            first += chunk
            if length is None or length > MAX_DATA_BYTES:
                break
    return first, content.at_eof()


async def send_rest(request: web.Request, call: OutgoingCall, limits: RestLimits) -> None:
    """Send what is left of a raw body, as fast as the agent grants credit. Ends early when the call is over.

    Raises SwitchboardError VALIDATION_FAILED when the client is too slow or breaks off; the call is cancelled then.
    """
    try:
        while not call.closed.done():
            chunk = await _next(request.content, limits)
            if not chunk:
                call.half_close()
                return
            await call.send(chunk)
    except SwitchboardError:
        call.cancel()
        raise


@asynccontextmanager
async def _in_all(limits: RestLimits) -> AsyncIterator[None]:
    """Time for something that has to be whole."""
    try:
        async with asyncio.timeout(limits.body_total_s):
            yield
    except TimeoutError as error:
        raise invalid(f"the body was not complete within {limits.body_total_s:g} s") from error


async def _next(content: StreamReader, limits: RestLimits) -> bytes:
    """The bytes that are there, or the next that come; no bytes at the end."""
    try:
        async with asyncio.timeout(limits.body_idle_s):
            return await content.readany()
    except TimeoutError as error:
        raise invalid(f"no byte of the body came for {limits.body_idle_s:g} s") from error
    except _BROKEN_BODY as error:
        raise invalid("the body broke off, or is not encoded as its headers say") from error


def too_large(limit: int) -> SwitchboardError:
    """A JSON body over its limit."""
    message = f"the JSON body is over {limit} bytes; send the payload itself, with its own Content-Type"
    return failure(pb.PAYLOAD_TOO_LARGE, message)
