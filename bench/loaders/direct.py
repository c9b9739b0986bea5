"""Load by bare grpc.aio calls: `python -m bench.loaders.direct ADDRESS [--connections N] [--stream]`."""

import argparse
import contextlib
from collections.abc import AsyncGenerator, Callable
from typing import Any

import uvloop
from grpc import aio

from bench.load import Call, Stream
from bench.loader import serve, serve_stream
from bench.loaders.direct_server import ECHO, PIECES

# Else all channels of a process that go to one address share one connection
OWN_CONNECTION = (("grpc.use_local_subchannel_pool", 1),)


def unary(channel: aio.Channel) -> Call:
    """Calls that are answered with what they send."""
    method = channel.unary_unary(ECHO, None, None)

    async def call(payload: bytes) -> object:
        answer: Any = await method(payload, wait_for_ready=True)
        assert len(answer) == len(payload)
        return answer

    return call


def streaming(channel: aio.Channel) -> Stream:
    """Calls answered in pieces, each as large as what they send."""
    method: Callable[..., Any] = channel.unary_stream(PIECES, None, None)

    async def stream(payload: bytes) -> AsyncGenerator[bytes, None]:
        call = method(payload, wait_for_ready=True)
        try:
            async for piece in call:
                yield piece
        finally:
            call.cancel()

    return stream


async def run(arguments: argparse.Namespace) -> None:
    async with contextlib.AsyncExitStack() as stack:
        channels = [
            await stack.enter_async_context(aio.insecure_channel(arguments.address, options=OWN_CONNECTION))
            for _ in range(arguments.connections)
        ]
        if arguments.stream:
            await serve_stream(streaming(channels[0]))
        else:
            await serve([unary(channel) for channel in channels])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("address")
    parser.add_argument("--connections", type=int, default=1)
    parser.add_argument("--stream", action="store_true")
    uvloop.run(run(parser.parse_args()))
