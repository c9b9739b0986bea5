"""The gateway's own transports as clients of its core: REST, unary gRPC and WebSockets."""

from typing import Protocol

from switchboard_wire.errors import ErrorValue, close_with
from switchboard_wire.peer import LocalPeer, Peer, local_pair
from switchboard_wire.v1 import frames_pb2 as pb


class CallTaker(Protocol):
    """Who takes a client's calls: the core, or an entrance before it that asks who may."""

    def open_call(self, peer: Peer, frame: pb.Frame, namespace: str) -> None:
        """Take a call, or close it with an error. namespace: of targets that name none."""
        ...


def attach_local(taker: CallTaker, namespace: str, label: str) -> LocalPeer:
    """A peer on which a transport of this process opens calls, as a client would on its session."""
    near, _ = local_pair(_Silent(), Client(taker, namespace), label)
    return near


class Client:
    """The events of one client's peer: a shell of this process, which signs its calls itself.

    taker: who takes its calls. namespace: where its targets are when they do not say.
    """

    __slots__ = ("_namespace", "_taker")

    def __init__(self, taker: CallTaker, namespace: str) -> None:
        self._taker = taker
        self._namespace = namespace

    def on_open(self, peer: Peer, frame: pb.Frame) -> None:
        opened = frame.open
        opened.ClearField("source")  # a client is nobody's agent, whatever it says
        if opened.chain:
            opened.ClearField("chain")  # nor does any agent wait for it: that would let it in over the limits
        self._taker.open_call(peer, frame, self._namespace)

    def on_control(self, peer: Peer, frame: pb.Frame) -> None:
        """A client has nothing to announce: HELLO and PING ask for nothing."""

    def on_lost(self, peer: Peer) -> None:
        """Its calls were cancelled one by one."""


class _Silent:
    """The near end of a local pair: the gateway opens no calls on it."""

    def on_open(self, peer: Peer, frame: pb.Frame) -> None:
        peer.send(close_with(frame.call, ErrorValue(pb.ROUTING_ERROR, "this client hosts no agents")))

    def on_control(self, peer: Peer, frame: pb.Frame) -> None:
        pass

    def on_lost(self, peer: Peer) -> None:
        pass
