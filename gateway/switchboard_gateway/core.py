"""The gateway's core: every call of every client passes here, whatever its transport.

One event loop owns it. Transports connect as peers (sessions, links) or through a local pair (unary gRPC, REST).
"""

import asyncio
import logging
import random
from collections import deque
from collections.abc import Iterable, Mapping

from switchboard_gateway.directory import Directory, build_directory
from switchboard_gateway.instances import Instance, Route, Table, announced_policies
from switchboard_gateway.metrics import GatewayMetrics
from switchboard_gateway.routed_call import RoutedCall
from switchboard_gateway.selection import Selected, select
from switchboard_routing.policy import AgentPolicy
from switchboard_wire.deadlines import Deadlines
from switchboard_wire.errors import ErrorValue, SwitchboardError, close_with
from switchboard_wire.peer import LocalPeer, Peer, local_pair
from switchboard_wire.v1 import frames_pb2 as pb

log = logging.getLogger("switchboard.gateway")

# What one client may have open at a time, and what may wait for instances in all
MAX_OPEN_CALLS = 10_000
MAX_HELD_CALLS = 10_000
MAX_HELD_BYTES = 64 * 1024 * 1024
# Unwritten frames on one link above which its instance counts as full
MAX_LINK_BACKLOG = 8192


class Core:
    """Routes calls between clients and instances.

    announced: take every agent that a host announces (no Kubernetes); otherwise only what the directory declares.
    """

    def __init__(self, namespace: str, metrics: GatewayMetrics, *, announced: bool = False) -> None:
        self.namespace = namespace
        self.metrics = metrics
        self.deadlines = Deadlines()
        self.rng = random.random
        self.now = asyncio.get_running_loop().time  # looked up once: three calls of it per message
        self.table = Table(self.rng)
        self.held: deque[RoutedCall] = deque()
        self.held_bytes = 0
        self.active = 0  # calls that have not ended
        self.quiet = asyncio.Event()  # set when the last of them ended
        self.sessions: set[Peer] = set()
        self._announced = announced
        self._declared: list[AgentPolicy] = []
        self._zones: Mapping[str, str] = {}

    # Clients

    def attach_local(self, label: str) -> LocalPeer:
        """A peer for a transport in this process: open calls on it, as a client would on its session."""
        near, _ = local_pair(_Silent(), Client(self, self.namespace), label)
        return near

    def open_call(self, peer: Peer, frame: pb.Frame, namespace: str) -> None:
        """Take a call from a client in `namespace`: route it, or close it with an error."""
        if len(peer.calls) >= MAX_OPEN_CALLS:
            message = f"{MAX_OPEN_CALLS} calls are open on this session: wait for some to end"
            peer.send(close_with(frame.call, ErrorValue(pb.OVERLOADED, message, retry_after_ms=100)))
            return
        try:
            selected = select(self.table, frame, namespace, self.rng)
        except SwitchboardError as error:
            peer.send(close_with(frame.call, error.error))
            return
        RoutedCall(self, peer, frame, selected).start()

    # Instances

    def add_instance(self, instance: Instance) -> None:
        """Take an instance that said HELLO; one link per pod, so an older one of the same pod no longer counts."""
        for other in [o for o in self.table.instances.values() if o.pod_uid == instance.pod_uid and o.pod_uid]:
            del self.table.instances[id(other.peer)]
        instance.zone = self._zones.get(instance.pod_uid) or instance.zone
        self.table.instances[id(instance.peer)] = instance
        self.metrics.links.set((), len(self.table.instances))
        self.instances_changed()

    def remove_instance(self, instance: Instance) -> None:
        if self.table.instances.pop(id(instance.peer), None) is not None:
            self.metrics.links.set((), len(self.table.instances))
            self.instances_changed()

    def instances_changed(self) -> None:
        """An instance came, went, drains, or hosts other agents: held calls may go on."""
        if self._announced:
            self._rebuild()
        else:
            self.table.refresh()
        self._release()

    def set_directory(self, policies: Iterable[AgentPolicy]) -> None:
        """Take the declared Agents."""
        self._declared = list(policies)
        self._rebuild()
        self._release()

    def set_zones(self, zones: Mapping[str, str]) -> None:
        """Take pod UID → zone; instances that are not in it keep the zone they announced."""
        for instance in self.table.instances.values():
            instance.zone = zones.get(instance.pod_uid) or instance.zone
        self._zones = zones

    def _rebuild(self) -> None:
        policies = list(self._declared)
        if self._announced:
            known = {(policy.namespace, policy.name) for policy in policies}
            seen = announced_policies(self.table.instances.values())
            policies += [policy for policy in seen if (policy.namespace, policy.name) not in known]
            # Agents that were here before keep their place while their host restarts, so that calls are held
            gone = [p for p in self.table.declared.policies() if (p.namespace, p.name) not in known | _names(seen)]
            policies += gone
        self.table.rebuild(build_directory(policies))

    def say_goodbye(self, reason: str) -> None:
        """Ask clients and instances to open their next calls elsewhere; calls that are open go on."""
        links = [instance.peer for instance in self.table.instances.values()]
        for peer in [*self.sessions, *links]:
            peer.send(pb.Frame(kind=pb.GOAWAY, goaway=pb.Goaway(reason=reason)))

    async def wait_quiet(self) -> None:
        """Wait until no call is under way."""
        while self.active:
            self.quiet.clear()
            await self.quiet.wait()

    # Calls that wait

    def hold(self, call: RoutedCall, size: int) -> bool:
        """Keep a call until an instance can take it; False when too much waits already."""
        if len(self.held) >= MAX_HELD_CALLS or self.held_bytes + size > MAX_HELD_BYTES:
            return False
        self.held.append(call)
        self.held_bytes += size
        self.metrics.held.set((), len(self.held))
        return True

    def _release(self) -> None:
        waiting, self.held = self.held, deque()
        self.held_bytes = 0
        for call in waiting:
            if not call.over:
                call.resume()
        self.metrics.held.set((), len(self.held))

    def pick(self, route: Route, key: str, selected: Selected, tried: tuple[Instance, ...]) -> Instance | None:
        """An instance that can take the call now and was not tried yet, or None."""
        candidates = route.instances
        if tried:
            candidates = [instance for instance in candidates if instance not in tried]
        if not candidates:
            return None
        return route.balancer.choose(selected.strategy, candidates, key, route.policy.key_affinity)

    @property
    def directory(self) -> Directory:
        return self.table.declared


def _names(policies: Iterable[AgentPolicy]) -> set[tuple[str, str]]:
    return {(policy.namespace, policy.name) for policy in policies}


class Client:
    """The events of one client's peer. namespace: where its targets are when they do not say."""

    __slots__ = ("_core", "_namespace")

    def __init__(self, core: Core, namespace: str) -> None:
        self._core = core
        self._namespace = namespace

    def on_open(self, peer: Peer, frame: pb.Frame) -> None:
        frame.open.ClearField("source")  # a client is nobody's agent, whatever it says
        self._core.open_call(peer, frame, self._namespace)

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
