"""A port that takes TLS and plain text alike, for the time in which an installation turns TLS on.

The first byte tells them apart: a TLS handshake begins with 0x16, our preface with a letter.
"""

import asyncio
import logging
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from switchboard_wire.sockets import PREFACE_WAIT_S, Accept, listener

log = logging.getLogger("switchboard.sockets")

HANDSHAKE: Final = b"\x16"  # RFC 8446 5.1: the type of a TLS record that carries a handshake
# Out of file descriptors, mostly: some of those that are open end meanwhile
ACCEPT_RETRY_S: Final = 0.1
BACKLOG: Final = 100


@asynccontextmanager
async def serve_mixed(host: str, port: int, accept: Accept, tls: ssl.SSLContext) -> AsyncIterator[int]:
    """Listen on a port while open, as `serve_tcp` does, for both; yields the port. Raises OSError when it is taken."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, _, _, _, address = found[0]
    opening: set[asyncio.Task[None]] = set()
    with socket.create_server(address[:2], family=family, backlog=BACKLOG) as server:
        server.setblocking(False)
        accepting = asyncio.create_task(_accept_all(server, accept, tls, opening))
        try:
            yield server.getsockname()[1]
        finally:
            tasks = [accepting, *opening]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def _accept_all(
    server: socket.socket, accept: Accept, tls: ssl.SSLContext, opening: set[asyncio.Task[None]]
) -> None:
    loop = asyncio.get_running_loop()
    while True:
        try:
            connection, _ = await loop.sock_accept(server)
        except OSError as error:
            log.warning("a connection was not taken", extra={"reason": str(error)})
            await asyncio.sleep(ACCEPT_RETRY_S)
            continue
        task = asyncio.create_task(_begin(connection, accept, tls))
        opening.add(task)
        task.add_done_callback(opening.discard)


async def _begin(connection: socket.socket, accept: Accept, tls: ssl.SSLContext) -> None:
    """Hand the connection to a listener of its kind; a stranger that says nothing is let go."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(PREFACE_WAIT_S):
            is_tls = await _first_byte(connection) == HANDSHAKE
        patience_s = PREFACE_WAIT_S if is_tls else None
        await loop.connect_accepted_socket(
            lambda: listener(accept), connection, ssl=tls if is_tls else None, ssl_handshake_timeout=patience_s
        )
    except (OSError, TimeoutError):
        connection.close()
    except asyncio.CancelledError:
        connection.close()
        raise


async def _first_byte(connection: socket.socket) -> bytes:
    """What the connection begins with, which stays to be read; empty when it ends before."""
    loop = asyncio.get_running_loop()
    while True:
        try:
            return connection.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            readable = loop.create_future()
            loop.add_reader(connection, _wake, readable)
            try:
                await readable
            finally:
                loop.remove_reader(connection)


def _wake(readable: "asyncio.Future[None]") -> None:
    if not readable.done():
        readable.set_result(None)
