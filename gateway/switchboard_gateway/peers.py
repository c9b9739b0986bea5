"""Links among gateways: one for each pair of replicas, over which each reaches the agents of the other's sessions.

Of two replicas that know each other's address, the one whose own is the smaller dials. Where an address is not known
both may dial; then both keep the link that the replica with the smaller name has dialled.
"""

import asyncio
import ipaddress
import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from random import Random
from typing import Final

from switchboard_gateway.attached import MAX_PEER_AGENTS, check_hosted
from switchboard_gateway.core import Core
from switchboard_gateway.instances import Instance
from switchboard_runtime.dialing import Dialer, resolve
from switchboard_wire.errors import ErrorValue, SwitchboardError, close_with
from switchboard_wire.limits import PROTOCOL
from switchboard_wire.names import LINK_SERVICE, LINKS_SERVICE
from switchboard_wire.peer import Peer, ProtocolError
from switchboard_wire.security import PLAIN, Dialling
from switchboard_wire.sockets import SocketPeer, dial_tcp, run_socket
from switchboard_wire.v1 import frames_pb2 as pb

log = logging.getLogger("switchboard.gateway.peers")

# Addresses in one PEERS frame: more replicas than anybody runs
MAX_PEERS: Final = 64
MAX_NAME_LENGTH: Final = 253
# kubelet renews a projected token minutes before it expires
TOKEN_POLL_S: Final = 30.0

Resolve = Callable[[str], Awaitable[frozenset[str]]]


@dataclass(frozen=True, slots=True)
class Self:
    """This replica as its peers know it. uid: of its pod; address: host:port of its links port, empty: not known."""

    name: str
    uid: str = ""
    address: str = ""

    @property
    def id(self) -> str:
        return f"{self.name}/{self.uid}"


def to_dial(own: str, found: Iterable[str]) -> frozenset[str]:
    """Those of some addresses that this replica dials. own: its address; empty: it dials all."""
    mine = _order(own)
    return frozenset(address for address in found if not own or mine < _order(address))


def _order(address: str) -> tuple[str, str]:
    """The same for every spelling of an address."""
    host, _, port = address.rpartition(":")
    try:
        return ipaddress.ip_address(host.strip("[]")).compressed, port
    except ValueError:
        return host, port


def is_address(text: str) -> bool:
    """Whether it is IP:port, as replicas tell each other."""
    host, _, port = text.rpartition(":")
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return port.isascii() and port.isdecimal() and 0 < int(port) <= 65535


def _end(peer: Peer, reason: str) -> None:
    if isinstance(peer, SocketPeer):
        peer.end(reason)
    else:
        peer.lose(reason)


class PeerLink:
    """The events of one link with another gateway. address: where it was dialled, empty when the other end dialled."""

    def __init__(self, peers: "Peers", address: str = "") -> None:
        self._peers = peers
        self.address = address
        self.replica = ""
        self.is_refused = False  # another link with the same replica stays
        self.peer: Peer | None = None
        self.instance: Instance | None = None

    @property
    def is_ours(self) -> bool:
        return bool(self.address)

    def on_open(self, peer: Peer, frame: pb.Frame) -> None:
        if self.instance is None:
            peer.send(close_with(frame.call, ErrorValue(pb.UNAUTHENTICATED, "a link says HELLO before it calls")))
        else:
            self._peers.core.attached.open_call(peer, frame)

    def on_control(self, peer: Peer, frame: pb.Frame) -> None:
        kind = frame.kind
        if kind == pb.HELLO:
            self._hello(peer, frame.hello)
        elif self.instance is None:
            return
        elif kind == pb.HOSTED:
            self._hosted(self.instance, frame.hosted)
        elif kind == pb.PEERS:
            self._peers.hear(frame.peers.addresses, self)
        elif kind == pb.GOAWAY:
            self.instance.draining = True
            self._peers.core.instances_changed()

    def on_lost(self, peer: Peer) -> None:
        if self.instance is not None:
            log.info("peer left", extra={"replica": self.instance.name})
            self._peers.left(self)
            self._peers.core.attached.remove(self.instance)
            self.instance = None

    def _hello(self, peer: Peer, hello: pb.Hello) -> None:
        if self.instance is None:
            if not hello.gateway or len(hello.gateway) > MAX_NAME_LENGTH:
                raise ProtocolError("the other end is no gateway")
            self.peer = peer
            self.replica = f"{hello.gateway}/{hello.pod_uid}"
            if not self._peers.admit(self):
                self.is_refused = True
                _end(peer, "another link with this replica stays")
                return
            peer.label = f"gateway {hello.gateway}"
            self.instance = Instance(
                peer=peer,
                namespace=self._peers.core.namespace,  # of a release, the same for every replica
                node="",
                name=f"gateway/{hello.gateway}",
                zone=hello.zone,
                is_attached=True,
                is_relay=True,
            )
            log.info("peer joined", extra={"replica": self.instance.name, "dialled": self.is_ours})
            self._peers.core.attached.add(self.instance)
            self._peers.joined(self)
        self.instance.concurrency = max(1, hello.capacity.concurrency)
        self.instance.queue = hello.capacity.queue
        self.instance.adjust(self._peers.core.now())
        self._peers.core.release_next()

    def _hosted(self, instance: Instance, hosted: pb.Hosted) -> None:
        try:
            agents = check_hosted(hosted.agents, MAX_PEER_AGENTS)
        except SwitchboardError as error:
            raise ProtocolError(f"HOSTED of a gateway: {error.message}") from error
        instance.all_hosted = agents
        instance.hosted = frozenset(agent.name for agent in agents if agent.state == pb.HOSTED_READY)
        self._peers.core.attached.changed()


class Peers:
    """All links with other gateways. targets: host:port whose every address is dialled. told: hears of addresses."""

    def __init__(
        self, core: Core, own: Self, targets: Iterable[str] = (), dialling: Dialling = PLAIN, resolve: Resolve = resolve
    ) -> None:
        self.core = core
        self._dialling = dialling
        self._own = own
        self._resolve = resolve
        self._links: dict[str, PeerLink] = {}
        self._lost: dict[str, asyncio.Event] = {}
        self._dialer = Dialer(targets, self._connect, Random(), self._find)
        self.addresses: dict[str, str] = {}  # of replicas that have a link, by their id
        self.told: Callable[[], None] = lambda: None
        core.attached.announce = self._announce

    async def run(self) -> None:
        """Dial for ever, and show fresh tokens where we dialled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._dialer.run())
            group.create_task(self._renew())

    async def _renew(self) -> None:
        shown = self._dialling.token()
        while True:
            await asyncio.sleep(TOKEN_POLL_S)
            token = self._dialling.token()
            if token != shown:
                shown = token
                for link in self._links.values():
                    if link.is_ours and link.peer is not None:
                        link.peer.send(pb.Frame(kind=pb.AUTH, auth=pb.Auth(token=token)))

    def hello(self) -> pb.Hello:
        """Who this replica is; a sidecar reads only the name."""
        return pb.Hello(
            protocol_min=PROTOCOL,
            protocol_max=PROTOCOL,
            gateway=self._own.name,
            pod_uid=self._own.uid,
            zone=self.core.table.zone,
            capacity=self.core.attached.capacity,
        )

    # What links tell

    def admit(self, link: PeerLink) -> bool:
        """Whether this link may stay; an older one that gives way is closed."""
        if link.replica == self._own.id:
            return False
        other = self._links.get(link.replica)
        if other is not None:
            # Of two that one end has dialled the first stays: both ends see them in one order. A dead one is lost soon
            if other.is_ours == link.is_ours or link.is_ours != (self._own.id < link.replica):
                return False
            other.is_refused = True
            assert other.peer is not None
            _end(other.peer, "another link with this replica stays")
        self._links[link.replica] = link
        self._lost.setdefault(link.replica, asyncio.Event()).clear()
        return True

    def joined(self, link: PeerLink) -> None:
        """It has said HELLO: it hears what our sessions host, and where we and our peers are."""
        assert link.peer is not None
        if link.address:
            self.addresses[link.replica] = link.address
            self.told()
        link.peer.send(pb.Frame(kind=pb.HOSTED, hosted=self.core.attached.hosted))
        known = [self._own.address, *self.addresses.values()]
        found = [address for address in known if is_address(address)]
        link.peer.send(pb.Frame(kind=pb.PEERS, peers=pb.Peers(addresses=found[:MAX_PEERS])))

    def left(self, link: PeerLink) -> None:
        if self._links.get(link.replica) is link:
            del self._links[link.replica]
            self.addresses.pop(link.replica, None)
            self._lost.pop(link.replica).set()

    def hear(self, addresses: Iterable[str], link: PeerLink) -> None:
        """A replica told where it is, and then where others are."""
        found = [address for address in list(addresses)[:MAX_PEERS] if is_address(address)]
        if found and not link.is_ours:
            self.addresses[link.replica] = found[0]
        self.told()
        self._dialer.hear(to_dial(self._own.address, found) if self._own.address else ())

    def _announce(self) -> None:
        attached = self.core.attached
        for link in self._links.values():
            if link.peer is not None:
                link.peer.send(pb.Frame(kind=pb.HELLO, hello=self.hello()))
                link.peer.send(pb.Frame(kind=pb.HOSTED, hosted=attached.hosted))

    # Dialling

    async def _find(self, target: str) -> frozenset[str]:
        return to_dial(self._own.address, await self._resolve(target))

    async def _connect(self, address: str) -> bool:
        """Hold one link until it breaks, or as long as another with the same replica stays."""
        link = PeerLink(self, address)
        peer = SocketPeer(link, dialled=True, label=f"gateway {address}")
        hello = self.hello()
        hello.token = self._dialling.token()
        peer.send(pb.Frame(kind=pb.HELLO, hello=hello))
        try:
            await dial_tcp(address, LINK_SERVICE, peer, self._dialling.tls(LINKS_SERVICE))
            reason = await run_socket(peer)
        except OSError as error:
            reason = str(error) or type(error).__name__
        finally:
            peer.end("not connected any more")
        log.debug("link with a peer ended", extra={"address": address, "reason": reason})
        if link.is_refused:
            await self._wait_until_free(link.replica)
        return bool(link.replica)

    async def _wait_until_free(self, replica: str) -> None:
        lost = self._lost.get(replica) if replica != self._own.id else asyncio.Event()  # itself: never again
        if lost is not None:
            await lost.wait()
