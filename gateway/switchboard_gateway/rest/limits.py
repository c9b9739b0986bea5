"""What one HTTP client may cost the gateway."""

import resource
from dataclasses import dataclass, field

from switchboard_gateway.age import Age

# Sockets beside REST connections: links, sessions, watches, listeners, logs
_RESERVED_FILES = 512


def _allowed_connections() -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(64, min(10_000, (soft - _RESERVED_FILES) * 3 // 4))


@dataclass(frozen=True, slots=True)
class SocketLimits:
    """What one WebSocket may cost; see RestLimits for the handshake and for a reader that stops reading."""

    # One message: 256 KiB of payload, in base64 or with escapes
    message_bytes: int = 512 * 1024
    # Calls under way; each may have 256 KiB of its answer waiting here
    calls: int = 100
    # What waits to be read by the client: nearly all that those calls may have waiting
    waiting_bytes: int = 32 * 1024 * 1024
    # A ping of the protocol's own at this pace; half of it without a pong and the client counts as gone
    heartbeat_s: float = 20.0
    # Without a call under way and without a message
    idle_s: float = 300.0
    # For the client's part in closing
    close_s: float = 2.0
    # When a socket is asked to begin anew, and how long it may still take then
    age: Age = field(default_factory=Age)
    # Of all connections, how many may be sockets: they are never idle, so they would keep everyone else out
    share: float = 0.5


@dataclass(frozen=True, slots=True)
class RestLimits:
    """Sizes in bytes, times in seconds. The defaults are for production; tests make them small."""

    connections: int = field(default_factory=_allowed_connections)
    # A connection whose first request is not complete up to its blank line by then is closed
    first_request_s: float = 10.0
    # An idle connection, and the headers of its next request; above the 60 s of common load balancers, so that they
    # never send a request into a connection that is being closed
    keepalive_s: float = 75.0
    # A body that brings no byte for this long is given up
    body_idle_s: float = 10.0
    # A whole JSON body, which waits in memory: above this a slow client holds memory for nothing
    body_total_s: float = 60.0
    # A client that does not read while an answer waits for it
    write_stall_s: float = 30.0
    line_bytes: int = 8190
    header_bytes: int = 8190
    headers: int = 64
    # Parsed at once on the event loop: 16 MiB is about 0.1 s; larger payloads go raw, in pieces
    json_bytes: int = 16 * 1024 * 1024
    # Around `input` in a JSON body: metadata, spaces, escapes
    json_room_bytes: int = 64 * 1024
    # A JSON body that came with its headers may take the direct lane; it is one frame then. 0: none does
    direct_bytes: int = 64 * 1024
    # An answer that is put together in one piece
    answer_bytes: int = 32 * 1024 * 1024
    # All bodies and answers that are kept whole, together
    buffered_bytes: int = 256 * 1024 * 1024
    # A comment on a silent event stream, before a proxy thinks it dead
    event_idle_s: float = 15.0
    # Calls under way get this long when the gateway stops
    shutdown_s: float = 10.0
    socket: SocketLimits = field(default_factory=SocketLimits)

    def most_json(self, payload_bytes: int) -> int:
        """Of a JSON body around a payload of so many bytes."""
        return min(payload_bytes + self.json_room_bytes, self.json_bytes)
