"""An HTTP server that is there and takes no connections."""

import socket

import aiohttp
import pytest

from switchboard_sidecar.http_host import HttpHost
from switchboard_wire.calls import Payload, call_unary
from switchboard_wire.errors import SwitchboardError
from switchboard_wire.v1 import frames_pb2 as pb


async def test_a_call_for_which_the_port_takes_no_connection_was_not_delivered() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server, socket.socket() as first, socket.socket() as more:
        port = server.getsockname()[1]
        for waiting in (first, more):  # the one that the backlog has room for, and one beyond it
            waiting.setblocking(False)
            waiting.connect_ex(("127.0.0.1", port))
        impatient = aiohttp.ClientTimeout(total=None, sock_connect=0.05)
        async with aiohttp.ClientSession(timeout=impatient) as session:
            host = HttpHost(pb.Assignment(name="busy", http=pb.HttpHandler(port=port)), session, "default")
            with pytest.raises(SwitchboardError, match="took no connection") as caught:
                await call_unary(host.peer, pb.Open(deadline_ms=60_000), Payload(b"hello"))
    assert (caught.value.error.code, caught.value.error.delivered) == (pb.NODE_UNAVAILABLE, pb.DELIVERED_NO)
