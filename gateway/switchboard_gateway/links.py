"""The gateway's end of the links: instances come, announce what they host, call and go."""

import asyncio
import functools
import logging
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Final

from switchboard_gateway.callers import sign
from switchboard_gateway.core import Core
from switchboard_gateway.instances import Instance
from switchboard_gateway.peers import MAX_PEERS, PeerLink, Peers
from switchboard_identity.identities import Admission, Gate, Refused
from switchboard_identity.serving import ReloadingContext
from switchboard_wire.errors import ErrorValue, close_with
from switchboard_wire.limits import PROTOCOL
from switchboard_wire.listening import serve_tcp
from switchboard_wire.mixed_port import serve_mixed
from switchboard_wire.names import LINK_SERVICE
from switchboard_wire.peer import Peer
from switchboard_wire.sockets import Accept, SocketPeer, run_socket
from switchboard_wire.v1 import frames_pb2 as pb

log = logging.getLogger("switchboard.gateway.links")


# What a link may say while its token is checked; more is no sidecar of ours
MAX_WAITING: Final = 32
# Agents of one instance: several times what a host registers by code; a list costs time with each change of it
MAX_AGENTS: Final = 1000
_TOO_MANY: Final = f"it lists over {MAX_AGENTS} agents"
# For the last frame to be written
LAST_WORD_S: Final = 0.2


@dataclass(frozen=True, slots=True)
class LinkRules:
    """What every link of a gateway is held to. name: this replica's. gatekeeper: None takes everybody at his word.

    plain_text: with `tls`, links without it are taken too.
    """

    name: str = ""
    gatekeeper: Gate | None = None
    tls: ReloadingContext | None = None
    plain_text: bool = False

    def listen(self, host: str, port: int, accept: Accept) -> AbstractAsyncContextManager[int]:
        """Listen while open; yields the port. Raises OSError when it is taken."""
        if self.tls is not None and self.plain_text:
            return serve_mixed(host, port, accept, self.tls.context)
        return serve_tcp(host, port, accept, self.tls.context if self.tls is not None else None)


class Link:
    """The events of one sidecar's peer. Where tokens are asked for, it counts only once its HELLO was let in.

    peers: what a link turns over to once it was let in as another gateway; None: no gateway is a peer.
    """

    __slots__ = (
        "_admission", "_core", "_peers", "_refused", "_replica", "_rules", "_task", "_waiting", "instance"
    )  # fmt: skip

    def __init__(self, core: Core, rules: LinkRules | None = None, peers: Peers | None = None) -> None:
        self._core = core
        self._rules = rules or LinkRules()
        self._peers = peers
        self._replica: PeerLink | None = None
        self.instance: Instance | None = None
        self._admission: Admission | None = None
        self._task: asyncio.Task[None] | None = None
        self._waiting: list[pb.Frame] | None = None  # while the token is checked
        self._refused = False

    def on_open(self, peer: Peer, frame: pb.Frame) -> None:
        """An agent calls: it acts in its own namespace, under a type that its instance hosts."""
        if self._replica is not None:
            self._replica.on_open(peer, frame)
            return
        instance = self.instance
        if instance is None:
            peer.send(close_with(frame.call, ErrorValue(pb.UNAUTHENTICATED, "a link says HELLO before it calls")))
            return
        opened = frame.open
        sign(opened, instance.principal)
        source = opened.source
        source.namespace = instance.namespace
        if source.type and not self._core.may_act_as(instance, source.type):
            source.type = source.key = ""
        self._core.open_call(peer, frame, instance.namespace)

    def on_control(self, peer: Peer, frame: pb.Frame) -> None:
        kind = frame.kind
        if self._refused:
            return
        if self._waiting is not None:
            if len(self._waiting) < MAX_WAITING or kind == pb.PING:
                self._waiting += [frame] if kind != pb.PING else []
            else:
                self._refuse(peer, "it says too much before it is let in")
        elif kind == pb.AUTH:
            self._auth(peer, frame.auth.token)
        elif self._replica is not None:
            self._replica.on_control(peer, frame)
        elif kind == pb.HELLO:
            self._hello(peer, frame.hello)
        elif self.instance is not None:
            self._told(self.instance, frame)

    def _told(self, instance: Instance, frame: pb.Frame) -> None:
        kind = frame.kind
        if kind == pb.PING:
            if frame.ping.HasField("load"):
                instance.reported(frame.ping.load, self._core.now())
        elif kind == pb.HOSTED and len(frame.hosted.agents) > MAX_AGENTS:
            self._refuse(instance.peer, _TOO_MANY)
        elif kind == pb.HOSTED:
            self._hosted(instance, frame.hosted)
            self._core.instances_changed(instance)
        elif kind == pb.GOAWAY:
            log.info("instance drains", extra={"instance": instance.name, "reason": frame.goaway.reason[:200]})
            instance.draining = True
            self._core.instances_changed(instance)

    def on_lost(self, peer: Peer) -> None:
        self._leave(peer)

    def _hello(self, peer: Peer, hello: pb.Hello) -> None:
        if self.instance is not None:  # the bounds of its AgentNode have changed
            _take_capacity(self.instance, hello)
            self.instance.adjust(self._core.now())
            self._core.release_next()
        elif self._rules.gatekeeper is None:
            self._join(peer, hello)
        else:
            self._waiting = []
            self._task = asyncio.ensure_future(self._admit(self._rules.gatekeeper, peer, hello))

    async def _admit(self, gatekeeper: Gate, peer: Peer, hello: pb.Hello) -> None:
        try:
            admission = await gatekeeper.admit(hello.token, source_of(peer))
        except Refused as refused:
            self._deny(peer, refused)
            return
        waiting, self._waiting = self._waiting or [], None
        self._admission = admission
        if peer.lost:
            self._leave(peer)
            return
        admission.revoked.add_done_callback(lambda done: self._deny(peer, Refused(pb.PERMISSION_DENIED, done.result())))
        if fault := admission.fault_of(hello):
            self._deny(peer, Refused(pb.PERMISSION_DENIED, fault))
            return
        self._join(peer, hello)
        for frame in waiting:
            self.on_control(peer, frame)

    def _auth(self, peer: Peer, token: str) -> None:
        gatekeeper, admission = self._rules.gatekeeper, self._admission
        if gatekeeper is not None and admission is not None and (self._task is None or self._task.done()):
            self._task = asyncio.ensure_future(self._renew(gatekeeper, admission, peer, token))

    async def _renew(self, gatekeeper: Gate, admission: Admission, peer: Peer, token: str) -> None:
        try:
            await gatekeeper.renew(admission, token)
        except Refused as refused:  # the former token counts until it ends
            self._core.metrics.count_refusal("link", refused.code)
            log.warning("a fresh token was refused", extra={"from": peer.label, "why": refused.message})

    def _deny(self, peer: Peer, refused: Refused) -> None:
        """Refuse it for who it is."""
        self._core.metrics.count_refusal("link", refused.code)
        self._refuse(peer, refused.message)

    def _refuse(self, peer: Peer, reason: str) -> None:
        self._refused, self._waiting = True, None
        if peer.lost:
            return
        log.warning("link refused", extra={"from": peer.label, "reason": reason})
        peer.send(pb.Frame(kind=pb.GOAWAY, goaway=pb.Goaway(reason=f"refused: {reason}")))
        self._leave(peer)
        if isinstance(peer, SocketPeer):
            asyncio.get_running_loop().call_later(LAST_WORD_S, peer.end, reason)

    def _leave(self, peer: Peer) -> None:
        """Its instance no longer counts, and its place is free."""
        if self._admission is not None and self._rules.gatekeeper is not None:
            self._rules.gatekeeper.release(self._admission)
            self._admission = None
        if self.instance is not None:
            log.info("instance left", extra={"instance": self.instance.name, "calls": len(peer.calls)})
            self._core.remove_instance(self.instance)
            self.instance = None
        if self._replica is not None:
            self._replica.on_lost(peer)

    def _join(self, peer: Peer, hello: pb.Hello) -> None:
        if len(hello.hosted.agents) > MAX_AGENTS:
            self._refuse(peer, _TOO_MANY)
            return
        if hello.gateway and self._peers is not None:
            self._replica = PeerLink(self._peers)
            peer.send(pb.Frame(kind=pb.HELLO, hello=self._peers.hello()))
            self._replica.on_control(peer, pb.Frame(kind=pb.HELLO, hello=hello))
            return
        admission = self._admission
        member = admission.member if admission is not None else None
        instance = Instance(
            peer=peer,
            namespace=hello.namespace if admission is None else admission.claims.namespace,
            node=hello.node if member is None else member.node,
            name=hello.instance if admission is None else admission.claims.pod,
            pod_uid=hello.pod_uid if admission is None else admission.claims.pod_uid,
            zone=hello.zone,
            principal=admission.spiffe_id if admission is not None else "",
        )
        _take_capacity(instance, hello)
        self.instance = instance
        peer.label = f"instance {instance.name}"
        self._hosted(instance, hello.hosted)
        # Not before: what it calls from now on is served
        greeting = pb.Hello(protocol_min=PROTOCOL, protocol_max=PROTOCOL, gateway=self._rules.name)
        peer.send(pb.Frame(kind=pb.HELLO, hello=greeting))
        if self._peers is not None and self._peers.addresses:
            peer.send(peers_frame(self._peers))
        extra = {"instance": instance.name, "node": instance.node, "principal": instance.principal}
        log.info("instance joined", extra={name: text for name, text in extra.items() if text})
        self._core.add_instance(instance)

    def _hosted(self, instance: Instance, hosted: pb.Hosted) -> None:
        instance.generation = hosted.generation
        instance.all_hosted = tuple(hosted.agents)
        instance.hosted = frozenset(agent.name for agent in hosted.agents if agent.state == pb.HOSTED_READY)


def _take_capacity(instance: Instance, hello: pb.Hello) -> None:
    if hello.HasField("capacity"):
        instance.concurrency, instance.queue = max(1, hello.capacity.concurrency), hello.capacity.queue


def source_of(peer: Peer) -> str:
    """The IP address of the other end; empty when it has none."""
    return peer.remote if isinstance(peer, SocketPeer) else ""


def peers_frame(peers: Peers) -> pb.Frame:
    """Where the other replicas are, for sidecars."""
    return pb.Frame(kind=pb.PEERS, peers=pb.Peers(addresses=sorted(peers.addresses.values())[:MAX_PEERS]))


def _tell_addresses(core: Core, peers: Peers) -> None:
    for instance in core.table.instances.values():
        if not instance.is_attached:
            instance.peer.send(peers_frame(peers))


class LinkServer:
    """Takes links, of sidecars and of other gateways."""

    def __init__(self, core: Core, rules: LinkRules, peers: Peers | None = None) -> None:
        self._core = core
        self._rules = rules
        self._peers = peers
        self._tasks: set[asyncio.Task[None]] = set()
        if peers is not None:
            peers.told = functools.partial(_tell_addresses, core, peers)

    @asynccontextmanager
    async def serve(self, host: str, port: int) -> AsyncIterator[int]:
        """Listen while open, then end every link; yields the port. Raises OSError when it is taken."""
        try:
            async with self._rules.listen(host, port, self._accept) as bound:
                yield bound
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, service: str, peer: SocketPeer) -> Link | None:
        if service != LINK_SERVICE:
            return None
        peer.label = peer.remote
        task = asyncio.ensure_future(self._run(peer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return Link(self._core, self._rules, self._peers)

    @staticmethod
    async def _run(peer: SocketPeer) -> None:
        reason = await run_socket(peer)
        log.debug("link ended", extra={"from": peer.label, "reason": reason})
