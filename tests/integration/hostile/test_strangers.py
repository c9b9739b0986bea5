"""Strangers at the gateway's ports: what is no protocol, what comes too slowly, what comes too often."""

import contextlib
import resource
import socket
import time

import grpc
import pytest
from hostile import H2_PREFACE, World, connect, h2_frame, h2_headers, is_closed, open_link, open_session, until

from switchboard_wire.limits import MAX_MESSAGE_BYTES
from switchboard_wire.names import REQUEST_METHOD
from switchboard_wire.sockets import PREFACE

GARBAGE = bytes(range(256)) * 64
IDLE = 10_000
DATA, HEADERS, RST_STREAM, SETTINGS, PING, CONTINUATION = 0, 1, 3, 4, 6, 9


def session_port(world: World) -> int:
    with contextlib.closing(open_session(world.gateway)) as session:
        port: int = session.getpeername()[1]
        return port


@pytest.mark.parametrize("port", ["grpc", "links", "session"])
@pytest.mark.parametrize("said", [GARBAGE, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"], ids=["garbage", "http/1.1"])
def test_what_is_no_protocol_of_ours_is_let_go(world: World, port: str, said: bytes) -> None:
    number = {"grpc": world.gateway.grpc_port, "links": world.gateway.links_port, "session": 0}[port]
    for _ in range(20):
        with contextlib.closing(connect(number or session_port(world))) as stranger:
            with contextlib.suppress(OSError):
                stranger.sendall(said)
            assert is_closed(stranger)


def test_garbage_at_the_rest_port_is_a_bad_request(world: World) -> None:
    with contextlib.closing(connect(world.gateway.http_port)) as stranger:
        stranger.sendall(GARBAGE)
        assert stranger.recv(65536).startswith((b"HTTP/1.0 400", b"HTTP/1.1 400"))
        assert is_closed(stranger)


@pytest.mark.parametrize("port", ["grpc", "links", "rest"])
def test_a_connection_that_withholds_its_first_bytes_is_closed(world: World, port: str) -> None:
    gateway = world.gateway
    number = {"grpc": gateway.grpc_port, "links": gateway.links_port, "rest": gateway.http_port}[port]
    strangers = [connect(number) for _ in range(100)]
    assert all(is_closed(stranger) for stranger in strangers)


@pytest.mark.parametrize(
    ("port", "said"),
    [("rest", b"GET / HTTP/1.1\r\nHost: x\r\n" + b"a: b\r\n" * 10), ("grpc", H2_PREFACE), ("links", PREFACE)],
)
def test_a_connection_that_drips_its_first_bytes_is_closed(world: World, port: str, said: bytes) -> None:
    gateway = world.gateway
    number = {"grpc": gateway.grpc_port, "links": gateway.links_port, "rest": gateway.http_port}[port]
    strangers = [connect(number) for _ in range(20)]
    ended = set()

    def drip() -> bool:
        for index, stranger in enumerate(strangers):
            if index in ended:
                continue
            try:
                position = drips[index] % (len(said) - 2)
                stranger.sendall(said[position : position + 1])
                drips[index] += 1
                stranger.setblocking(False)
                if not stranger.recv(65536):
                    ended.add(index)
            except BlockingIOError:
                continue
            except OSError:
                ended.add(index)
        # The pace of the act: quicker, a stranger would be closed for saying too much, and not for taking too long
        time.sleep(0.3)
        return len(ended) == len(strangers)

    drips = [0] * len(strangers)
    until(drip)


def test_ten_thousand_idle_connections_leave_room_for_others(world: World) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(hard, 3 * IDLE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    count = min(IDLE, (max(soft, wanted) - 500))
    ports = (world.gateway.grpc_port, world.gateway.links_port, world.gateway.http_port)
    idle: list[socket.socket] = []
    try:
        for number in range(count):
            with contextlib.suppress(OSError):
                idle.append(connect(ports[number % 3]))
        assert len(idle) > count * 9 // 10
        until(lambda: world.gateway.open_files < 1000)  # all of them have been closed
    finally:
        for stranger in idle:
            stranger.close()


def test_ten_thousand_connections_that_speak_http2_and_then_nothing_are_bounded(world: World) -> None:
    idle: list[socket.socket] = []
    try:
        for _ in range(IDLE):
            with contextlib.suppress(OSError):
                stranger = connect(world.gateway.grpc_port)
                stranger.sendall(H2_PREFACE + h2_frame(SETTINGS, 0, 0))
                idle.append(stranger)
        assert len(idle) > IDLE * 9 // 10
    finally:
        for stranger in idle:
            stranger.close()
    until(lambda: world.gateway.open_files < 1000)


def test_a_flood_of_resets_is_survived(world: World) -> None:
    """Rapid reset, CVE-2023-44487: streams are opened and given up at once, for ever."""
    block = h2_headers(REQUEST_METHOD)
    ended = 0
    for _ in range(5):
        with contextlib.closing(connect(world.gateway.grpc_port)) as stranger, contextlib.suppress(OSError):
            stranger.sendall(H2_PREFACE + h2_frame(SETTINGS, 0, 0))
            for first in range(1, 40_000, 200):
                flood = b"".join(
                    h2_frame(HEADERS, 4, stream, block) + h2_frame(RST_STREAM, 0, stream, b"\0\0\0\x08")
                    for stream in range(first, first + 200, 2)
                )
                stranger.sendall(flood)
            ended += 1
    until(lambda: world.gateway.open_files < 1000)


def test_a_flood_of_pings_and_settings_is_survived(world: World) -> None:
    with contextlib.closing(connect(world.gateway.grpc_port)) as stranger, contextlib.suppress(OSError):
        stranger.sendall(H2_PREFACE + h2_frame(SETTINGS, 0, 0))
        for _ in range(2000):
            stranger.sendall((h2_frame(PING, 0, 0, b"12345678") + h2_frame(SETTINGS, 0, 0)) * 50)


def test_headers_without_end_are_refused(world: World) -> None:
    """CONTINUATION frames that never end the block."""
    with contextlib.closing(connect(world.gateway.grpc_port)) as stranger, contextlib.suppress(OSError):
        stranger.sendall(H2_PREFACE + h2_frame(SETTINGS, 0, 0) + h2_frame(HEADERS, 0, 1, h2_headers(REQUEST_METHOD)))
        field = b"\x00\x04xxxx\x7f\xe1\x07" + b"y" * 1120
        for _ in range(20_000):
            stranger.sendall(h2_frame(CONTINUATION, 0, 1, field))
        # Either end may have given up by now; what counts is what the fixture checks


def test_metadata_over_the_limit_is_refused(world: World) -> None:
    with grpc.insecure_channel(world.gateway.address) as channel, pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary(REQUEST_METHOD)(b"", metadata=[("x-large", "y" * 40_000)], timeout=60)
    assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize("opens", [open_link, open_session], ids=["link", "session"])
@pytest.mark.parametrize("length", [MAX_MESSAGE_BYTES + 1, 2**32 - 1])
def test_a_batch_whose_length_is_over_the_limit_ends_the_stream(world: World, opens, length: int) -> None:
    with contextlib.closing(opens(world.gateway)) as stranger:
        stranger.sendall(length.to_bytes(4, "big") + b"x")
        assert is_closed(stranger)


@pytest.mark.parametrize("opens", [open_link, open_session], ids=["link", "session"])
def test_a_batch_that_never_comes_whole_ends_with_the_streams_silence(world: World, opens) -> None:
    strangers = [opens(world.gateway) for _ in range(20)]
    for stranger in strangers:
        stranger.sendall((1000).to_bytes(4, "big") + b"x")
    assert all(is_closed(stranger) for stranger in strangers)
