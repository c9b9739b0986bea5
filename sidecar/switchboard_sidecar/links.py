"""Links to gateways: one stream to each replica, dialled from here, calls in both directions."""

import logging
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from switchboard_sidecar.hosts import check_protocol
from switchboard_sidecar.outbound import least_loaded
from switchboard_wire import names
from switchboard_wire.peer import Peer
from switchboard_wire.security import PLAIN, Dialling
from switchboard_wire.sockets import SocketPeer, dial_tcp, run_socket
from switchboard_wire.v1 import frames_pb2 as pb

log = logging.getLogger("sidecar.links")


class LinkOwner(Protocol):
    """What links ask of the sidecar, and tell it."""

    def hello(self) -> pb.Hello:
        """Who this instance is, with a fresh token."""

    def load(self) -> pb.Load:
        """What pings carry."""

    def on_open(self, peer: Peer, frame: pb.Frame) -> None:
        """A gateway opened a call."""

    def link_came(self) -> None:
        """A link is live."""


class Link:
    """One stream to one gateway. greeted: it has said HELLO. leaving: it has said GOAWAY."""

    def __init__(self, owner: LinkOwner, address: str, on_peers: Callable[[Iterable[str]], None]) -> None:
        self._owner = owner
        self._on_peers = on_peers
        self.address = address
        self.greeted = False
        self.leaving = False
        self.peer = SocketPeer(self, dialled=True, label=f"gateway {address}")

    def on_open(self, peer: Peer, frame: pb.Frame) -> None:
        self._owner.on_open(peer, frame)

    def on_control(self, peer: Peer, frame: pb.Frame) -> None:
        kind = frame.kind
        if kind == pb.HELLO:
            check_protocol(frame.hello)
            log.info("linked", extra={"address": self.address, "gateway": frame.hello.gateway})
            self.greeted = True
            self._owner.link_came()
        elif kind == pb.PEERS:
            self._on_peers(frame.peers.addresses)
        elif kind == pb.GOAWAY:
            self.leaving = True
            if not self.greeted:
                log.warning("refused", extra={"address": self.address, "why": frame.goaway.reason[:200]})

    def on_lost(self, peer: Peer) -> None:
        """`Links.connect` takes it off the list."""


class Links:
    """All links. on_peers: told of addresses that gateways know."""

    def __init__(self, owner: LinkOwner, dialling: Dialling = PLAIN) -> None:
        self._owner = owner
        self._dialling = dialling
        self._links: dict[str, Link] = {}
        self.on_peers: Callable[[Iterable[str]], None] = lambda addresses: None
        self._goaway: str | None = None

    @property
    def live(self) -> int:
        return sum(1 for _ in self._usable())

    def choose(self) -> Peer | None:
        """The least loaded live link for an outbound call."""
        return least_loaded(self._usable())

    def broadcast(self, frame: pb.Frame) -> None:
        """Send a control frame on every link."""
        for link in self._links.values():
            link.peer.send(frame)

    def go_away(self, reason: str) -> None:
        """Ask every gateway, and those that link later, to open no more calls here."""
        self._goaway = reason
        self.broadcast(_goaway(reason))

    async def connect(self, address: str) -> bool:
        """Hold one link until it breaks. True when the gateway had greeted."""
        link = self._begin(address, self._owner.hello())
        try:
            try:
                await dial_tcp(address, names.LINK_SERVICE, link.peer, self._dialling.tls(names.LINKS_SERVICE))
            except ConnectionError:
                if not self._dialling.may_be_plain():
                    raise
                link = self._begin_again(link)
                await dial_tcp(address, names.LINK_SERVICE, link.peer)
            reason = await run_socket(link.peer, self._owner.load)
        except OSError as error:
            reason = str(error) or type(error).__name__
        finally:
            del self._links[address]
            link.peer.end("not connected any more")  # calls that were opened here before it broke
        log.log(
            logging.INFO if link.greeted else logging.DEBUG, "link lost", extra={"address": address, "reason": reason}
        )
        return link.greeted

    def _begin(self, address: str, hello: pb.Hello) -> Link:
        link = Link(self._owner, address, self.on_peers)
        link.peer.send(pb.Frame(kind=pb.HELLO, hello=hello))
        if self._goaway is not None:
            link.peer.send(_goaway(self._goaway))
        self._links[address] = link
        return link

    def _begin_again(self, link: Link) -> Link:
        """For a gateway that hung up on TLS, as one from before the installation turned it on: it gets no token."""
        link.peer.end("the other end speaks no TLS")
        log.warning("linking in plain text", extra={"address": link.address})
        hello = self._owner.hello()
        hello.token = ""
        return self._begin(link.address, hello)

    def _usable(self) -> Iterator[Peer]:
        return (link.peer for link in self._links.values() if link.greeted and not link.leaving)


def _goaway(reason: str) -> pb.Frame:
    return pb.Frame(kind=pb.GOAWAY, goaway=pb.Goaway(reason=reason))
