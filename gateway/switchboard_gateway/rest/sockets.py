"""GET /ws: who may have a WebSocket, and how many there may be."""

import base64
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from aiohttp import web

from switchboard_gateway.access.rights import bearer
from switchboard_gateway.access.shells import Doorway
from switchboard_gateway.core import Core
from switchboard_gateway.rest.bodies import Buffered
from switchboard_gateway.rest.json_body import invalid
from switchboard_gateway.rest.limits import RestLimits
from switchboard_gateway.rest.ws_session import SocketSession
from switchboard_wire.errors import failure
from switchboard_wire.v1 import frames_pb2 as pb

SUBPROTOCOL: Final = "switchboard.v1"
# The token of a browser's client follows it; libraries for Kubernetes know it
TOKEN_PREFIX: Final = "base64url.bearer.authorization.k8s.io."
_GOING_AWAY: Final = 1001


class Sockets:
    """The handler, and every socket that is open."""

    def __init__(self, core: Core, limits: RestLimits, doorway: Doorway) -> None:
        self._core = core
        self._doorway = doorway
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
        entrance = await self._doorway.entrance(read_token(request.headers))
        with self._waiting.share() as share:
            session = SocketSession(self._core, socket, limits, share, entrance)
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


def read_token(headers: Mapping[str, str]) -> str:
    """The token of a handshake: in Authorization, or, as browsers cannot send that, in a subprotocol. Empty: none.

    The subprotocol is that of Kubernetes' own API server: TOKEN_PREFIX and the token in base64url without padding.
    """
    token = bearer(headers.get("Authorization", ""))
    if token:
        return token
    offered = [name.strip() for name in headers.get("Sec-WebSocket-Protocol", "").split(",")]
    for name in offered:
        if name.startswith(TOKEN_PREFIX):
            if SUBPROTOCOL not in offered:  # it could not be answered, and would stand in the log
                raise invalid(f"offer the subprotocol {SUBPROTOCOL} beside the token")
            text = name[len(TOKEN_PREFIX) :]
            try:
                return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode("ascii")
            except ValueError:
                raise invalid("the token in Sec-WebSocket-Protocol is not base64url") from None
    return ""


def check_origin(origin: str, host: str) -> None:
    """Raise PermissionDenied for a page of another host: browsers let any page open a socket to anywhere."""
    if origin and urlsplit(origin).netloc.lower() != host.lower():
        raise failure(pb.PERMISSION_DENIED, "pages of another origin may not open sockets here: use a server of yours")
