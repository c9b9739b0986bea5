"""GET /ws: who may have a WebSocket, and how many there may be."""

from typing import Final
from urllib.parse import urlsplit

from aiohttp import web

from switchboard_gateway.core import Core
from switchboard_gateway.rest.bodies import Buffered
from switchboard_gateway.rest.json_body import invalid
from switchboard_gateway.rest.limits import RestLimits
from switchboard_gateway.rest.ws_session import SocketSession
from switchboard_wire.errors import failure
from switchboard_wire.v1 import frames_pb2 as pb

SUBPROTOCOL: Final = "switchboard.v1"
_GOING_AWAY: Final = 1001


class Sockets:
    """The handler, and every socket that is open."""

    def __init__(self, core: Core, limits: RestLimits) -> None:
        self._core = core
        self._limits = limits.socket
        self._most = max(1, int(limits.connections * limits.socket.share))
        self._waiting = Buffered(limits.buffered_bytes)
        self._open: set[SocketSession] = set()

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """One socket, from its handshake to its end. Raises SwitchboardError for a handshake that is refused."""
        limits = self._limits
        socket = web.WebSocketResponse(
            timeout=limits.close_s,
            heartbeat=limits.heartbeat_s,
            max_msg_size=limits.message_bytes,
            protocols=(SUBPROTOCOL,),
            compress=False,  # a few bytes could become millions
        )
        if not socket.can_prepare(request):
            raise invalid("this path is for WebSockets: connect with ws://")
        check_origin(request.headers.get("Origin", ""), request.host)
        if len(self._open) >= self._most:
            raise failure(pb.OVERLOADED, f"{self._most} sockets are open here already", retry_after_ms=1000)
        with self._waiting.share() as share:
            session = SocketSession(self._core, socket, limits, share)
            self._open.add(session)
            try:
                await socket.prepare(request)
                await session.run()
            finally:
                self._open.discard(session)
        return socket

    async def close(self, _: web.Application) -> None:
        """Close every socket: the gateway stops."""
        for session in self._open:
            session.end(_GOING_AWAY, "the gateway stops")


def check_origin(origin: str, host: str) -> None:
    """Raise PermissionDenied for a page of another host: browsers let any page open a socket to anywhere."""
    if origin and urlsplit(origin).netloc.lower() != host.lower():
        raise failure(pb.PERMISSION_DENIED, "pages of another origin may not open sockets here: use a server of yours")
