"""The asking side of the drain: what the sidecar's own preStop runs."""

import asyncio
from pathlib import Path

from switchboard_wire.calls import Payload, call_unary
from switchboard_wire.errors import ErrorValue, close_with
from switchboard_wire.names import DRAIN_SERVICE
from switchboard_wire.peer import Peer
from switchboard_wire.sockets import dial_socket, run_socket
from switchboard_wire.v1 import frames_pb2 as pb


class _Asking:
    def on_open(self, peer: Peer, frame: pb.Frame) -> None:
        peer.send(close_with(frame.call, ErrorValue(pb.ROUTING_ERROR, "the preStop hosts no agents")))

    def on_control(self, peer: Peer, frame: pb.Frame) -> None:
        """Pings."""

    def on_lost(self, peer: Peer) -> None:
        """The call ends with it."""


async def request_drain(path: Path, reason: str) -> int:
    """Have the sidecar on `path` drain; returns the calls left. Raises OSError or SwitchboardError when it is gone."""
    peer = await dial_socket(path, DRAIN_SERVICE, _Asking(), label="the sidecar")
    running = asyncio.ensure_future(run_socket(peer))
    try:
        close = await call_unary(peer, pb.Open(method=reason), Payload())
        return int(close.data)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
