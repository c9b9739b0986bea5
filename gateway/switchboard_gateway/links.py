"""The gateway's end of the links: instances come, announce what they host, call and go."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from switchboard_gateway.core import Core
from switchboard_gateway.instances import Instance
from switchboard_wire.errors import ErrorValue, close_with
from switchboard_wire.limits import PROTOCOL
from switchboard_wire.names import LINK_SERVICE
from switchboard_wire.peer import Peer
from switchboard_wire.sockets import SocketPeer, run_socket, serve_tcp
from switchboard_wire.v1 import frames_pb2 as pb

log = logging.getLogger("switchboard.gateway.links")


class Link:
    """The events of one sidecar's peer."""

    __slots__ = ("_core", "instance")

    def __init__(self, core: Core) -> None:
        self._core = core
        self.instance: Instance | None = None

    def on_open(self, peer: Peer, frame: pb.Frame) -> None:
        """An agent calls: it acts in its own namespace, under a type that its instance hosts."""
        instance = self.instance
        if instance is None:
            peer.send(close_with(frame.call, ErrorValue(pb.UNAUTHENTICATED, "a link says HELLO before it calls")))
            return
        source = frame.open.source
        source.namespace = instance.namespace
        if source.type and source.type not in instance.types:
            source.type = source.key = ""
        self._core.open_call(peer, frame, instance.namespace)

    def on_control(self, peer: Peer, frame: pb.Frame) -> None:
        kind = frame.kind
        if kind == pb.HELLO:
            self._hello(peer, frame.hello)
        elif self.instance is None:
            return
        elif kind == pb.PING:
            if frame.ping.HasField("load"):
                self.instance.reported(frame.ping.load, self._core.now())
        elif kind == pb.HOSTED:
            self._hosted(self.instance, frame.hosted)
            self._core.instances_changed()
        elif kind == pb.GOAWAY:
            log.info("instance drains", extra={"instance": self.instance.name, "reason": frame.goaway.reason[:200]})
            self.instance.draining = True
            self._core.instances_changed()

    def on_lost(self, peer: Peer) -> None:
        if self.instance is not None:
            log.info("instance left", extra={"instance": self.instance.name, "calls": len(peer.calls)})
            self._core.remove_instance(self.instance)
            self.instance = None

    def _hello(self, peer: Peer, hello: pb.Hello) -> None:
        if self.instance is not None:  # the bounds of its AgentNode have changed
            _take_capacity(self.instance, hello)
            self.instance.adjust(self._core.now())
            return
        instance = Instance(
            peer=peer,
            namespace=hello.namespace,
            node=hello.node,
            name=hello.instance,
            pod_uid=hello.pod_uid,
            zone=hello.zone,
        )
        _take_capacity(instance, hello)
        self.instance = instance
        peer.label = f"instance {hello.instance}"
        self._hosted(instance, hello.hosted)
        log.info("instance joined", extra={"instance": instance.name, "node": instance.node})
        self._core.add_instance(instance)

    def _hosted(self, instance: Instance, hosted: pb.Hosted) -> None:
        instance.generation = hosted.generation
        instance.all_hosted = tuple(hosted.agents)
        instance.hosted = frozenset(agent.name for agent in hosted.agents if agent.state == pb.HOSTED_READY)


def _take_capacity(instance: Instance, hello: pb.Hello) -> None:
    if hello.HasField("capacity"):
        instance.concurrency, instance.queue = max(1, hello.capacity.concurrency), hello.capacity.queue


class LinkServer:
    """Takes links. name: this replica's, for the sidecar's log."""

    def __init__(self, core: Core, name: str) -> None:
        self._core = core
        self._name = name
        self._tasks: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def serve(self, host: str, port: int) -> AsyncIterator[int]:
        """Listen while open, then end every link; yields the port. Raises OSError when it is taken."""
        try:
            async with serve_tcp(host, port, self._accept) as bound:
                yield bound
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, service: str, peer: SocketPeer) -> Link | None:
        if service != LINK_SERVICE:
            return None
        peer.label = peer.remote
        hello = pb.Hello(protocol_min=PROTOCOL, protocol_max=PROTOCOL, gateway=self._name)
        peer.send(pb.Frame(kind=pb.HELLO, hello=hello))
        task = asyncio.ensure_future(self._run(peer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return Link(self._core)

    @staticmethod
    async def _run(peer: SocketPeer) -> None:
        reason = await run_socket(peer)
        log.debug("link ended", extra={"from": peer.label, "reason": reason})
