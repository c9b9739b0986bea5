"""A bare grpc.aio server that echoes raw bytes: what the message path is measured against.

`python -m bench.loaders.direct_server PORT`
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from typing import Any

import grpc
import uvloop
from grpc import aio

ECHO = "/bench.Direct/Echo"
PIECES = "/bench.Direct/Pieces"
COUNT = 100  # as bench/agents/echo.py yields


async def echo(request: bytes, context: Any) -> bytes:
    return request


async def pieces(request: bytes, context: Any) -> AsyncIterator[bytes]:
    for _ in range(COUNT):
        yield request


async def main(port: int) -> None:
    server = aio.server()
    handlers = {
        "Echo": grpc.unary_unary_rpc_method_handler(echo),
        "Pieces": grpc.unary_stream_rpc_method_handler(pieces),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bench.Direct", handlers),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    uvloop.install()
    asyncio.run(main(int(sys.argv[1])))
