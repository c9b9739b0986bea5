"""A client's session: it calls, and it may host agents, which are then reachable through every replica."""

import asyncio
import logging
import secrets
from typing import TYPE_CHECKING

from switchboard_gateway.access.entrance import Entrance
from switchboard_gateway.access.guard import refusal
from switchboard_gateway.access.rights import HOST, Right
from switchboard_gateway.attached import MAX_HOSTING_SESSIONS, MAX_SESSION_AGENTS, check_hosted
from switchboard_gateway.callers import sign
from switchboard_gateway.instances import Instance
from switchboard_wire.errors import SwitchboardError, close_with, failure
from switchboard_wire.peer import Peer
from switchboard_wire.v1 import frames_pb2 as pb

if TYPE_CHECKING:
    from switchboard_gateway.clients import CallTaker
    from switchboard_gateway.core import Core

log = logging.getLogger("switchboard.gateway.sessions")

# What a session may say that it takes at once; more says nothing to the balancer
MAX_CONCURRENCY = 10_000
MAX_INSTANCE_LENGTH = 253
# Frames beside calls that wait for the API server's word; more are dropped
MAX_WAITING = 16


def hosted_by(frame: pb.Frame) -> list[str]:
    """The types of the agents that a frame says its sender hosts."""
    hosted = frame.hello.hosted if frame.kind == pb.HELLO else frame.hosted if frame.kind == pb.HOSTED else None
    return [] if hosted is None else [agent.type for agent in hosted.agents]


class Session:
    """The events of one client's session. A list of agents at fault is refused whole, by a CLOSE of call 0.

    entrance: where tokens are asked for, the client's; it signs the calls, and knows what the client may host.
    """

    __slots__ = ("_calls", "_core", "_entrance", "_instance", "_namespace", "_task", "_waiting")

    def __init__(self, core: "Core", namespace: str, entrance: Entrance | None = None) -> None:
        self._core = core
        self._namespace = namespace
        self._entrance = entrance
        self._calls: CallTaker = entrance or core
        self._instance: Instance | None = None
        self._task: asyncio.Task[None] | None = None
        self._waiting: list[pb.Frame] | None = None  # while the API server is asked

    def watch(self, peer: Peer) -> None:
        """Once the session has begun: when its client's token expires, it is asked to begin anew with a fresh one."""
        if self._entrance is not None:
            goodbye = pb.Frame(kind=pb.GOAWAY, goaway=pb.Goaway(reason="the token has expired: begin anew"))
            self._entrance.watch(lambda: peer.send(goodbye))

    def on_open(self, peer: Peer, frame: pb.Frame) -> None:
        opened = frame.open
        if self._entrance is None:  # else it signs
            sign(opened)
        instance = self._instance
        if opened.HasField("source"):
            if instance is not None and self._core.may_act_as(instance, opened.source.type):
                opened.source.namespace = self._namespace
            else:
                opened.ClearField("source")  # a client is nobody's agent, whatever it says
        if opened.chain and (instance is None or not instance.in_flight):
            opened.ClearField("chain")  # nor does any agent wait for it: that would let it in over the limits
        self._calls.open_call(peer, frame, self._namespace)

    def on_control(self, peer: Peer, frame: pb.Frame) -> None:
        if self._entrance is None:
            self._told(peer, frame)
        elif self._waiting is not None:
            if len(self._waiting) < MAX_WAITING and frame.kind != pb.PING:
                self._waiting.append(frame)
        elif frame.kind == pb.AUTH or hosted_by(frame):
            self._waiting = []
            self._task = asyncio.ensure_future(self._ask(self._entrance, peer, frame))
        else:
            self._told(peer, frame)

    async def _ask(self, entrance: Entrance, peer: Peer, frame: pb.Frame) -> None:
        """See whether the client may say this before it is heard; what it says meanwhile comes next."""
        try:
            if frame.kind == pb.AUTH:
                await entrance.renew(frame.auth.token)
            else:
                await self._check_hosting(entrance, hosted_by(frame))
        except SwitchboardError as error:
            self._refuse(peer, error)
        else:
            if not peer.lost:
                self._told(peer, frame)
        waiting, self._waiting = self._waiting or [], None
        for later in waiting:
            self.on_control(peer, later)

    async def _check_hosting(self, entrance: Entrance, types: list[str]) -> None:
        rights = [Right(HOST, self._namespace, type_) for type_ in types[:MAX_SESSION_AGENTS]]
        granted = await entrance.settle(rights)
        for right in rights:
            if right not in granted:
                raise refusal(entrance.visitor, right)

    def _refuse(self, peer: Peer, error: SwitchboardError) -> None:
        if self._entrance is not None:
            self._core.metrics.count_refusal(self._entrance.surface, error.error.code)
        log.info("a session is refused", extra={"code": error.code, "reason": error.message[:200]})
        peer.send(close_with(0, error.error))

    def _told(self, peer: Peer, frame: pb.Frame) -> None:
        kind = frame.kind
        try:
            if kind == pb.HELLO and (frame.hello.hosted.agents or self._instance is not None):
                self._hello(peer, frame.hello)
            elif kind == pb.HOSTED:
                self._host(peer, frame.hosted)
            elif self._instance is None:
                return
            elif kind == pb.PING and frame.ping.HasField("load"):
                self._instance.reported(frame.ping.load, self._core.now())
            elif kind == pb.GOAWAY:
                self._instance.draining = True
                self._core.attached.refresh()
                self._core.instances_changed()
                self._core.attached.changed()
        except SwitchboardError as error:
            self._refuse(peer, error)

    def on_lost(self, peer: Peer) -> None:
        """Its calls were cancelled one by one; the agents that it hosted are known for a while yet."""
        if self._entrance is not None:
            self._entrance.leave()
        if self._task is not None:
            self._task.cancel()
        if self._instance is not None:
            log.info("a host left", extra={"instance": self._instance.name, "calls": self._instance.in_flight})
            self._core.attached.remove(self._instance)
            self._instance = None

    def _hello(self, peer: Peer, hello: pb.Hello) -> None:
        if hello.namespace not in ("", self._namespace):
            message = f"a session hosts agents in namespace {self._namespace!r} alone, not in {hello.namespace[:80]!r}"
            raise failure(pb.PERMISSION_DENIED, message)
        self._host(peer, hello.hosted, hello)

    def _host(self, peer: Peer, hosted: pb.Hosted, hello: pb.Hello | None = None) -> None:
        attached = self._core.attached
        agents = check_hosted(hosted.agents, MAX_SESSION_AGENTS)
        instance = self._instance
        if instance is None:
            if not agents:
                return
            instance = self._new_instance(peer, hello)
        if hello is not None and hello.HasField("capacity"):
            instance.concurrency = min(max(1, hello.capacity.concurrency), MAX_CONCURRENCY)
            instance.queue = min(hello.capacity.queue, MAX_CONCURRENCY)
            instance.adjust(self._core.now())
            self._core.release_next()
        if agents == instance.all_hosted:
            return
        instance.all_hosted = agents
        instance.hosted = frozenset(agent.name for agent in agents if agent.state == pb.HOSTED_READY)
        if self._instance is None:
            self._instance = instance
            log.info("a host joined", extra={"instance": instance.name, "agents": len(agents)})
            attached.add(instance)
        else:
            attached.refresh()
            self._core.instances_changed()
            attached.changed()

    def _new_instance(self, peer: Peer, hello: pb.Hello | None) -> Instance:
        if not self._core.hosts_sessions:
            raise failure(pb.PERMISSION_DENIED, "this gateway takes no agents from sessions")
        if len(self._core.attached.sessions) >= MAX_HOSTING_SESSIONS:
            raise failure(pb.OVERLOADED, f"{MAX_HOSTING_SESSIONS} sessions host agents here", retry_after_ms=1000)
        name = hello.instance if hello is not None else ""
        if len(name) > MAX_INSTANCE_LENGTH or not name.isprintable():
            raise failure(pb.VALIDATION_FAILED, f"instance: at most {MAX_INSTANCE_LENGTH} printable characters")
        peer.label = f"session {name or peer.label}"
        return Instance(
            peer=peer,
            namespace=self._namespace,
            node="",
            name=f"session/{name or secrets.token_hex(6)}",
            is_attached=True,
        )
