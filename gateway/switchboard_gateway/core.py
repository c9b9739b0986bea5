"""The gateway's core: every call of every client passes here, whatever its transport.

One event loop owns it. Transports connect as peers (sessions, links) or through a local pair (unary gRPC, REST).
"""

import asyncio
import logging
import random
from collections.abc import Callable, Collection, Iterable, Mapping

from switchboard_gateway.asking import AskRegistry, nobody_to_ask
from switchboard_gateway.attached import Attached
from switchboard_gateway.clients import CallTaker, attach_local
from switchboard_gateway.cold_starts import ColdStarts
from switchboard_gateway.directory import Directory, build_directory
from switchboard_gateway.fan_out import FanOut
from switchboard_gateway.hold import Hold
from switchboard_gateway.instances import (
    ATTACHED,
    DEFAULT_WEIGHT,
    Instance,
    Route,
    Table,
    announced_policies,
    is_bound,
)
from switchboard_gateway.metrics import GatewayMetrics
from switchboard_gateway.registered import Registered
from switchboard_gateway.routed_call import RoutedCall
from switchboard_gateway.selection import Allowed, select
from switchboard_routing.breaker import State
from switchboard_routing.policy import AgentPolicy
from switchboard_wire.deadlines import Deadlines
from switchboard_wire.errors import ErrorValue, SwitchboardError, close_with, name_of
from switchboard_wire.peer import LocalPeer, Peer
from switchboard_wire.v1 import frames_pb2 as pb

log = logging.getLogger("switchboard.gateway")

# What one client may have open at a time, and what may wait for instances in all
MAX_OPEN_CALLS = 10_000
MAX_HELD_CALLS = 10_000
MAX_HELD_BYTES = 64 * 1024 * 1024


class Core:
    """Routes calls between clients and instances.

    announced: take every agent that a host announces (no Kubernetes); otherwise only what the directory declares.
    zone: where this gateway runs; instances of the same zone are preferred. hosts_sessions: sessions may host agents.
    """

    def __init__(
        self,
        namespace: str,
        metrics: GatewayMetrics,
        *,
        announced: bool = False,
        zone: str = "",
        hosts_sessions: bool = True,
    ) -> None:
        self.namespace = namespace
        self.metrics = metrics
        self.deadlines = Deadlines()
        self.rng = random.random
        self.now = asyncio.get_running_loop().time  # looked up once: three calls of it per message
        self.table = Table(self.rng, self._circuit_changed, self._circuits_left)
        self.table.zone = zone
        self.hosts_sessions = hosts_sessions
        self.attached = Attached(self, Table(self.rng, self._circuit_changed, self._circuits_left))
        self.fan_out = FanOut(self)
        self.held: Hold[RoutedCall] = Hold(MAX_HELD_CALLS, MAX_HELD_BYTES)
        self.cold_starts = ColdStarts(metrics.cold_starts)
        self.ask_registry: AskRegistry = nobody_to_ask
        self.on_first_held: Callable[[], None] = lambda: None  # told when calls for an Agent begin to wait
        self._releasing = False
        self._crowded: set[Route] = set()  # for which calls wait although instances came: these had no room for more
        self.active = 0  # calls that have not ended
        self.quiet = asyncio.Event()  # set when the last of them ended
        self.sessions: set[Peer] = set()
        self.leaving = False  # it said goodbye
        # Told of each Agent, by namespace and name, of which a circuit changes
        self.on_circuit: Callable[[str, str], None] = lambda namespace, agent: None
        self._announced = announced
        self._declared: list[AgentPolicy] = []
        self._zones: Mapping[str, str] = {}
        self._weights: Mapping[tuple[str, str], int] = {}
        self._registered = Registered()
        self._dynamic: Collection[tuple[str, str]] = ()

    # Clients

    def attach_local(self, label: str, entrance: CallTaker | None = None) -> LocalPeer:
        """A peer for a transport in this process: open calls on it, as a client would on its session."""
        return attach_local(entrance or self, self.namespace, label)

    def open_call(self, peer: Peer, frame: pb.Frame, namespace: str, allowed: Allowed = None) -> None:
        """Take a call from a client in `namespace`: route it to an Agent that is allowed, or close it with an error."""
        if len(peer.calls) >= MAX_OPEN_CALLS:
            message = f"{MAX_OPEN_CALLS} calls are open on this session: wait for some to end"
            peer.send(close_with(frame.call, ErrorValue(pb.OVERLOADED, message, retry_after_ms=100)))
            return
        target = frame.open.target
        try:
            if target.topic or target.all_instances:
                self.fan_out.open_call(peer, frame, namespace, allowed)
                return
            selected = select(self.table, frame, namespace, self.rng, allowed)
        except SwitchboardError as error:
            self.metrics.count_refusal("policy", error.error.code)
            if error.error.code == pb.PERMISSION_DENIED:
                log.info("refused", extra={"principal": frame.open.principal, "reason": error.message})
            self.note_refusal(frame.open.target, error.error)
            peer.send(close_with(frame.call, error.error))
            return
        RoutedCall(self, peer, frame, selected).start()

    def note_refusal(self, target: pb.Target, error: ErrorValue) -> None:
        """Log a call that no handler answered; `switchboard dev` shows these, nobody else asks for the level."""
        if log.isEnabledFor(logging.DEBUG):
            asked = target.type or f"capability:{target.capability}"
            log.debug("call refused", extra={"agent": asked, "code": name_of(error.code), "error": error.message})

    # Instances

    def add_instance(self, instance: Instance) -> None:
        """Take an instance that said HELLO; one link per pod, so an older one of the same pod no longer counts."""
        former = [o for o in self.table.instances.values() if o.pod_uid == instance.pod_uid and o.pod_uid]
        for other in former:
            del self.table.instances[id(other.peer)]
        instance.zone = self._zones.get(instance.pod_uid) or instance.zone
        instance.base_weight = self._weights.get((instance.namespace, instance.node), DEFAULT_WEIGHT)
        instance.joined = self.now()
        instance.latency_s = self._usual_latency(instance)
        instance.adjust(instance.joined)
        self.table.instances[id(instance.peer)] = instance
        self._count_links()
        self.instances_changed(*former, instance)

    def remove_instance(self, instance: Instance) -> None:
        if self.table.instances.pop(id(instance.peer), None) is not None:
            self._count_links()
            self.instances_changed(instance)

    def _count_links(self) -> None:
        self.metrics.links.set((), sum(not instance.is_attached for instance in self.table.instances.values()))

    def _usual_latency(self, newcomer: Instance) -> float:
        """What the others of its AgentNode need: of a newcomer nothing is known, which must not look like speed."""
        known = [
            other.latency_s
            for other in self.table.instances.values()
            if other.latency_s and (other.namespace, other.node) == (newcomer.namespace, newcomer.node)
        ]
        return sum(known) / len(known) if known else 0.0

    def instances_changed(self, *changed: Instance) -> None:
        """Instances came, went, drain or host other agents: held calls may go on. With none named it may be all."""
        if self._announced or self._registered.update(self.table.instances.values(), self._dynamic, self.now()):
            self._rebuild()
        elif changed:
            for instance in changed:
                self.table.place(instance)
        else:
            self.table.refresh()
        self.release()

    def rebuild(self) -> None:
        """What sessions and peers host has changed."""
        self._rebuild()
        self.release()

    def set_directory(self, policies: Iterable[AgentPolicy]) -> None:
        """Take the declared Agents."""
        self._declared = list(policies)
        self._rebuild()
        self.release()

    def set_zones(self, zones: Mapping[str, str], own: str | None = None) -> None:
        """Take pod UID → zone, and this gateway's own; instances not in it keep the zone that they announced."""
        if zones == self._zones and own in (None, self.table.zone):
            return
        for instance in self.table.instances.values():
            instance.zone = zones.get(instance.pod_uid) or instance.zone
        self._zones = zones
        if own is not None:
            self.table.zone = own
        self.table.refresh()

    def set_node_weights(self, weights: Mapping[tuple[str, str], int]) -> None:
        """Take (namespace, AgentNode) → spec.weight."""
        self._weights = weights
        now = self.now()
        for instance in self.table.instances.values():
            instance.base_weight = weights.get((instance.namespace, instance.node), DEFAULT_WEIGHT)
            instance.adjust(now)

    def set_dynamic_nodes(self, nodes: Collection[tuple[str, str]]) -> None:
        """Take the AgentNodes, by namespace and name, on which code may register agents of types that none declares."""
        if self._dynamic != nodes:
            self._dynamic = nodes
            self.instances_changed()

    def may_act_as(self, instance: Instance, type_: str) -> bool:
        """Whether an instance may call under a type: it hosts it, and the type's Agent, if declared, is bound to it."""
        if type_ not in instance.types:
            return False
        declared = self.table.by_type.get((instance.namespace, type_))
        if declared:
            return any(is_bound(route.policy, instance) for route in declared)
        return self._announced or instance.is_attached or (instance.namespace, instance.node) in self._dynamic

    def reset_circuits(self, namespace: str, agent: str) -> bool:
        """Close every circuit of an Agent; False when there is no such Agent."""
        route = self.table.routes.get((namespace, agent))
        if route is None:
            return False
        route.reset()
        self._circuits_left(route)
        log.info("circuits reset", extra={"agent": agent, "namespace": namespace})
        return True

    def _circuit_changed(self, route: Route, instance: Instance, state: State) -> None:
        policy = route.policy
        self.metrics.circuit_changes.add((policy.namespace, policy.name, state.value))
        self._count_circuits(route)
        self.on_circuit(policy.namespace, policy.name)
        log.info("circuit changed", extra={"agent": policy.name, "instance": instance.name, "state": state.value})

    def _circuits_left(self, route: Route) -> None:
        self._count_circuits(route)
        self.on_circuit(route.policy.namespace, route.policy.name)

    def _count_circuits(self, route: Route) -> None:
        for state, count in route.circuits().items():
            self.metrics.circuits.set((route.policy.namespace, route.policy.name, state.value), count)

    def _rebuild(self) -> None:
        policies = [*self._declared, *self._registered.policies(self._declared)]
        if self._announced:
            known = {(policy.namespace, policy.name) for policy in policies}
            seen = announced_policies(i for i in self.table.instances.values() if not i.is_attached)
            policies += [policy for policy in seen if (policy.namespace, policy.name) not in known]
            # Agents that were here before keep their place while their host restarts, so that calls are held
            here = {(policy.namespace, policy.name) for policy in policies}
            before = [p for p in self.table.declared.policies() if p.nodes != ATTACHED]
            policies += [p for p in before if (p.namespace, p.name) not in here]
        policies += self.attached.policies(policies)
        self.table.rebuild(build_directory(policies))
        known_routes = {*self.table.routes.values(), *self.attached.routes}
        for route in self.held.routes():
            while route not in known_routes and (call := self.held.take(route)) is not None:
                call.orphan()

    def say_goodbye(self, reason: str) -> None:
        """Ask clients and instances to open their next calls elsewhere; calls that are open go on."""
        self.leaving = True
        links = [instance.peer for instance in self.table.instances.values() if instance.peer not in self.sessions]
        for peer in [*self.sessions, *links]:
            peer.send(pb.Frame(kind=pb.GOAWAY, goaway=pb.Goaway(reason=reason)))

    def call_began(self) -> None:
        self.active += 1

    def call_ended(self) -> None:
        self.active -= 1
        if not self.active:
            self.quiet.set()

    async def wait_quiet(self) -> None:
        """Wait until no call is under way."""
        while self.active:
            self.quiet.clear()
            await self.quiet.wait()

    # Calls that wait

    def hold(self, call: RoutedCall, size: int) -> bool:
        """Keep a call until an instance can take it; False when too much waits already."""
        is_first = not self.held.has(call.route)
        kept = self.held.add(call, size)
        if kept and is_first:
            self.cold_starts.waits(call.route, self.now())
            self.on_first_held()
        self.metrics.held.set((), len(self.held))
        return kept

    def unhold(self, call: RoutedCall) -> None:
        """The call ended; it may have waited."""
        if self.held.remove(call):
            self.cold_starts.settle(self.held.has, self.now())
            self.metrics.held.set((), len(self.held))

    def release(self) -> None:
        """Instances came or changed: let held calls go on, as many as there is room for; more would only be refused."""
        if self.held.calls and not self._releasing:
            self.cold_starts.settle(self.held.has, self.now())
            self._resume(self.held.routes())

    def release_next(self) -> None:
        """An instance has room for one more call: let those go on that wait for room, not those that wait for one."""
        if self._crowded and not self._releasing:
            self._resume(list(self._crowded))

    def _resume(self, routes: Iterable[Route]) -> None:
        held = self.held
        self._releasing = True
        try:
            for route in routes:
                while route.instances and (call := held.take(route, has_room=route.room > 0)) is not None:
                    call.resume()
                if route.instances and held.has(route):
                    self._crowded.add(route)
                else:
                    self._crowded.discard(route)
        finally:
            self._releasing = False
        self.metrics.held.set((), len(held))

    @property
    def directory(self) -> Directory:
        return self.table.declared
