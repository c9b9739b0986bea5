"""A host without a sidecar: its peer's frames are handed to it, and nobody can be called from it."""

from switchboard.host.serving import Serving
from switchboard_wire.peer import Peer
from switchboard_wire.v1 import frames_pb2 as pb


class LoneSidecar:
    """Events of the host's peer: every call is served."""

    def __init__(self, serving: Serving) -> None:
        self._serving = serving

    def on_open(self, peer: Peer, frame: pb.Frame) -> None:
        self._serving.open(peer, frame)

    def on_control(self, peer: Peer, frame: pb.Frame) -> None:
        """There is none."""

    def on_lost(self, peer: Peer) -> None:
        """It never is."""


class NoUplink:
    """Nobody is called from here."""

    peer = None

    async def wait(self, timeout_s: float | None = None) -> Peer:
        raise AssertionError("nobody is called from here")
