"""A deliverer between two peers in memory: what a gateway sends on one side, what a host gets on the other."""

from collections.abc import Callable
from typing import Any

from switchboard_sidecar.delivery import Deliverer
from switchboard_sidecar.outbound import Outbound
from switchboard_sidecar.roster import Roster
from switchboard_wire.peer import Peer
from switchboard_wire.v1 import frames_pb2 as pb


class Recorder:
    """Events of a peer; calls go to `opens` when it is given."""

    def __init__(self, opens: Callable[[Peer, pb.Frame], None] | None = None) -> None:
        self._opens = opens

    def on_open(self, peer: Peer, frame: pb.Frame) -> None:
        assert self._opens is not None
        self._opens(peer, frame)

    def on_control(self, peer: Peer, frame: pb.Frame) -> None:
        """Nothing here has any."""

    def on_lost(self, peer: Peer) -> None:
        """The test knows."""


class Bench:
    """One host with agents, one link, no sockets. `now` is the clock."""

    def __init__(self, *agents: pb.Assignment, **fields: Any) -> None:
        self.now = 1000.0
        self.roster = Roster()
        self.deliverer = Deliverer(self.roster, lambda: self.now)
        self.links: list[Peer] = []
        self.outbound = Outbound(self.deliverer, "ns", lambda: self.links[0] if self.links else None)
        self.link = Peer(Recorder(self.deliverer.on_open), dialled=True, label="gateway")
        self.host = Peer(Recorder(self.outbound.on_open), dialled=False, label="host")
        self._number = 0
        admission = self.deliverer.admission
        admission.concurrency = fields.pop("concurrency", 16)
        admission.queue_length = fields.pop("queue_length", 100)
        self.roster.apply(pb.Assignments(generation=1, agents=agents, **fields))
        self.attach(self.host)

    def attach(self, host: Peer) -> None:
        self.host = host
        self.roster.host_came(host)
        agents = [
            pb.HostedAgent(name=entry.name, type=entry.type, state=pb.HOSTED_READY)
            for entry in self.roster.by_name.values()
        ]
        self.roster.host_said(host, pb.Hosted(generation=1, agents=agents))

    def open(self, type_: str = "a", *, end: bool = True, data: bytes = b"x", **fields: Any) -> int:
        """A gateway opens a call; returns its number."""
        self._number += 2
        open_ = pb.Open(target=pb.Target(type=type_), **fields)
        self.link.dispatch(pb.Frame(kind=pb.OPEN, call=self._number, end=end, data=data, open=open_))
        return self._number

    def answer(self, number: int, **fields: Any) -> None:
        """The host closes the call that it knows under `number`."""
        self.host.dispatch(pb.Frame(kind=pb.CLOSE, call=number, **fields))

    def to_host(self) -> list[pb.Frame]:
        return self.host.outbox.drain()

    def to_gateway(self) -> list[pb.Frame]:
        return self.link.outbox.drain()
