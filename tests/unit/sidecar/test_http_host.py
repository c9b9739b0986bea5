"""An HTTP server that is there and takes no connections, or takes them and does not answer."""

import contextlib
import socket
from collections.abc import Iterator

import aiohttp
import pytest

from switchboard_sidecar.http_host import HttpHost
from switchboard_wire.calls import OutgoingCall, Payload, new_open
from switchboard_wire.errors import ErrorValue, SwitchboardError
from switchboard_wire.v1 import frames_pb2 as pb


@contextlib.contextmanager
def full() -> Iterator[int]:
    """A port that takes no connection."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server, socket.socket() as first, socket.socket() as more:
        port: int = server.getsockname()[1]
        for waiting in (first, more):  # the one that the backlog has room for, and one beyond it
            waiting.setblocking(False)
            waiting.connect_ex(("127.0.0.1", port))
        yield port


async def refusal(
    port: int, deadline_ms: int, connect_s: float = 60, *, end: bool = True, data: bytes = b""
) -> ErrorValue:
    """How a call to the port ends. end: its body is complete."""
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=connect_s)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        host = HttpHost(pb.Assignment(name="busy", http=pb.HttpHandler(port=port)), session, "default")
        call = OutgoingCall(host.peer, new_open(pb.Open(deadline_ms=deadline_ms), Payload(data), end=end))
        with pytest.raises(SwitchboardError) as caught:
            await call.result()
        await host.abort()
    return caught.value.error


async def test_a_call_for_which_the_port_takes_no_connection_was_not_delivered() -> None:
    with full() as port:
        error = await refusal(port, 60_000, connect_s=0.05)
    assert (error.code, error.delivered) == (pb.NODE_UNAVAILABLE, pb.DELIVERED_NO)
    assert "took no connection" in error.message


async def test_a_call_whose_deadline_passes_before_there_is_a_connection_was_not_delivered() -> None:
    with full() as port:
        error = await refusal(port, 50)
    assert (error.code, error.delivered) == (pb.DEADLINE_EXCEEDED, pb.DELIVERED_NO)


async def test_a_call_whose_deadline_passes_while_its_body_comes_in_was_not_delivered() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        error = await refusal(server.getsockname()[1], 50, data=b"the first half", end=False)
    assert (error.code, error.delivered) == (pb.DEADLINE_EXCEEDED, pb.DELIVERED_NO)


@pytest.mark.parametrize("data", [b"", b"hello"])
async def test_a_call_that_a_server_does_not_answer_was_delivered(data: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        error = await refusal(server.getsockname()[1], 3000, data=data)
    assert (error.code, error.delivered) == (pb.DEADLINE_EXCEEDED, pb.DELIVERED_YES)
