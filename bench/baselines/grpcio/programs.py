"""An echo over bare grpc.aio streams, and its load, with whatever grpcio this environment has.

`python -m bench.baselines.grpcio.programs serve|load ADDRESS`
"""

import asyncio
import sys
from typing import Any

import grpc
import uvloop
from grpc import aio

from bench.loader import serve as serve_load

METHOD = "/bench.Direct/Stream"


async def echo(requests: Any, context: Any) -> None:
    while (message := await context.read()) is not aio.EOF:  # type: ignore[attr-defined]
        await context.write(message)


async def run_server(address: str) -> None:
    server = aio.server()
    handler = grpc.stream_stream_rpc_method_handler(echo)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bench.Direct", {"Stream": handler}),))
    server.add_insecure_port(address)
    await server.start()
    await server.wait_for_termination()


async def run_load(address: str) -> None:
    """Every call in flight has a stream of its own, which is kept."""
    async with aio.insecure_channel(address) as channel:
        method: Any = channel.stream_stream(METHOD, None, None)
        free: list[Any] = []

        async def call(payload: bytes) -> object:
            stream = free.pop() if free else method(wait_for_ready=True)
            await stream.write(payload)
            answer = await stream.read()
            assert len(answer) == len(payload)
            free.append(stream)
            return answer

        await serve_load([call])


if __name__ == "__main__":
    uvloop.install()
    asyncio.run({"serve": run_server, "load": run_load}[sys.argv[1]](sys.argv[2]))
