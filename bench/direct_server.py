"""A bare grpc.aio server that echoes raw bytes: the baseline of the message path."""

import asyncio
import os
from typing import Any

import grpc
import uvloop
from grpc import aio

METHOD = "/bench.Direct/Echo"


async def echo(request: bytes, context: Any) -> bytes:
    return request


async def main() -> None:
    server = aio.server()
    handler = grpc.unary_unary_rpc_method_handler(echo)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bench.Direct", {"Echo": handler}),))
    server.add_insecure_port(f"127.0.0.1:{os.environ['BENCH_PORT']}")
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    uvloop.install()
    asyncio.run(main())
