"""The answering ends of sockets: a unix socket, or a port with or without TLS, on which peers come in."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from switchboard_wire.sockets import PREFACE_WAIT_S, Accept, listener


@asynccontextmanager
async def serve_socket(path: Path, accept: Accept, mode: int) -> AsyncIterator[None]:
    """Listen on a unix socket while open; an old socket file is replaced. mode: of the file."""
    _remove(path)
    server = await asyncio.get_running_loop().create_unix_server(lambda: listener(accept), str(path))
    await asyncio.to_thread(path.chmod, mode)
    try:
        yield
    finally:
        server.close()
        _remove(path)


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)


@asynccontextmanager
async def serve_tcp(host: str, port: int, accept: Accept, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Listen on a port while open; yields the port (of use with 0). Raises OSError when it is taken."""
    patience_s = PREFACE_WAIT_S if tls is not None else None
    server = await asyncio.get_running_loop().create_server(
        lambda: listener(accept), host, port, ssl=tls, ssl_handshake_timeout=patience_s
    )
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
