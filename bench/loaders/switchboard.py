"""Load through the SDK: `python -m bench.loaders.switchboard ADDRESS [--connections N] [--stream]`."""

import argparse
import asyncio
import contextlib
from collections.abc import AsyncGenerator

import uvloop

from bench.load import Call, Stream
from bench.loader import serve, serve_stream
from switchboard import AgentNotFound, Client

READY_S = 60.0


def unary(client: Client) -> Call:
    """Calls that are answered with what they send."""

    async def call(payload: bytes) -> object:
        answer = await client.request("echo", payload, timeout_s=READY_S)
        assert len(answer.data) == len(payload)
        return answer

    return call


def streaming(client: Client) -> Stream:
    """Calls answered in pieces, each as large as what they send."""

    async def stream(payload: bytes) -> AsyncGenerator[bytes, None]:
        async with contextlib.aclosing(client.stream("pieces", payload)) as pieces:
            async for piece in pieces:
                yield piece

    return stream


async def reach(client: Client, agent: str = "echo") -> None:
    """Wait until the gateway has heard of the agent. Raises TimeoutError."""
    async with asyncio.timeout(READY_S):
        while True:
            try:
                await client.request(agent, b"x", timeout_s=READY_S)
                return
            except AgentNotFound:
                await asyncio.sleep(0.05)


async def run(arguments: argparse.Namespace) -> None:
    async with contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(Client(arguments.address)) for _ in range(arguments.connections)]
        await reach(clients[0])
        if arguments.stream:
            await serve_stream(streaming(clients[0]))
        else:
            await serve([unary(client) for client in clients])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("address")
    parser.add_argument("--connections", type=int, default=1)
    parser.add_argument("--stream", action="store_true")
    uvloop.run(run(parser.parse_args()))
