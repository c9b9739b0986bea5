"""A sidecar's stream to the operator on a real socket."""

import asyncio
import socket

import pytest

from switchboard_wire import registry_http2
from switchboard_wire.internal_v1.registry_pb2 import Report
from switchboard_wire.registry_http2 import Http2Line, LineLost
from switchboard_wire.v1 import frames_pb2 as pb

pytestmark = pytest.mark.integration

# Of the socket, each way: less than what is written, and the least that Linux gives
BUFFER_BYTES = 4608
REPORT = Report(hello=pb.Hello(token="x" * 40_000))


async def read_all(end: socket.socket) -> int:
    """How many bytes come until the other end has closed."""
    loop, count = asyncio.get_running_loop(), 0
    while piece := await loop.sock_recv(end, 1 << 16):
        count += len(piece)
    return count


async def test_what_a_silent_operator_did_not_take_is_thrown_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry_http2, "PING_EVERY_S", 0.02)
    monkeypatch.setattr(registry_http2, "PING_WAIT_S", 0.01)
    near, far = socket.socketpair()
    with far:
        far.setblocking(False)
        near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER_BYTES)
        loop = asyncio.get_running_loop()
        line = Http2Line("operator:7420", "https")
        await loop.create_unix_connection(lambda: line, sock=near)
        writing = asyncio.create_task(line.write(REPORT))
        async with asyncio.timeout(60):
            with pytest.raises(LineLost, match="is silent"):
                [directive async for directive in line.directives()]
            await asyncio.gather(writing, return_exceptions=True)
            assert await read_all(far) < REPORT.ByteSize()
