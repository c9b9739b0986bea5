"""Pumps between a peer and a gRPC stream of bytes: one writer, one reader, a ping from either end."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Protocol

import grpc
from grpc import aio

from switchboard_wire.keeping_alive import LoadReport, SilentError, keep_alive
from switchboard_wire.limits import CHANNEL_OPTIONS
from switchboard_wire.peer import Peer, ProtocolError
from switchboard_wire.together import first_end

_EOF: Any = aio.EOF  # type: ignore[attr-defined]


class ByteStream(Protocol):
    """A gRPC stream of raw bytes: `grpc.aio`'s stream-stream call at the client, its servicer context at the server."""

    async def read(self) -> Any:
        """The next message, or grpc.aio.EOF."""

    async def write(self, message: Any) -> None:
        """Put one message on the stream; waits while the transport is full."""


async def run_stream(peer: Peer, stream: ByteStream, load: LoadReport | None = None) -> str:
    """Pump until the stream ends, then tell the peer. Returns the reason. load: what our pings carry."""
    reason = "the stream was cancelled"
    try:
        reason = await run_together(_read(peer, stream), _write(peer, stream), keep_alive(peer, load))
    finally:
        peer.lose(f"{peer.label or 'the other end'}: {reason}")
    return reason


async def run_together(*work: Coroutine[Any, Any, None], ended: str = "closed by the other end") -> str:
    """Run the two directions of a stream until one ends, and stop the rest. Returns why it ended.

    ended: the reason of one that ended without an error. Raises what is not a stream's way to end.
    """
    return _reason(await first_end(*work)) or ended


async def _read(peer: Peer, stream: ByteStream) -> None:
    while (data := await stream.read()) is not _EOF:
        peer.receive(data)


async def _write(peer: Peer, stream: ByteStream) -> None:
    while True:
        await stream.write(await peer.next_batch())


def _reason(error: BaseException | None) -> str:
    """What ended a stream, empty when nothing went wrong. Raises what is not a stream's way to end."""
    if error is None:
        return ""
    if isinstance(error, aio.AioRpcError):
        return f"{error.code().name}: {error.details()}"
    if isinstance(error, (ProtocolError, SilentError, asyncio.InvalidStateError, grpc.RpcError, aio.UsageError)):
        return str(error) or type(error).__name__
    raise error


StreamHandler = Callable[[Any, Any], Awaitable[None]]


def stream_service(methods: dict[str, StreamHandler]) -> list[Any]:
    """Generic handlers of raw stream-stream methods, by full method name (`/package.Service/Method`)."""
    services: dict[str, dict[str, Any]] = {}
    for path, handler in methods.items():
        _, service, method = path.split("/")
        services.setdefault(service, {})[method] = grpc.stream_stream_rpc_method_handler(handler)
    return [grpc.method_handlers_generic_handler(service, found) for service, found in services.items()]


def open_channel(address: str, options: Sequence[tuple[str, int]] = CHANNEL_OPTIONS) -> aio.Channel:
    """A plain-text channel for one address; `unix:PATH` for a socket. Every stream of ours is dialled through here."""
    return aio.insecure_channel(address, options=options)
