"""Living instances and, per Agent, those of them that can answer now."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from switchboard_gateway.changes import Changes
from switchboard_gateway.directory import Directory, TypeKey
from switchboard_routing.balance import Rng
from switchboard_routing.breaker import State
from switchboard_routing.policy import AgentPolicy, Capability, Subscription
from switchboard_routing.pool import Pool
from switchboard_routing.weights import Report, dynamic_weight, warmth
from switchboard_wire.peer import Peer
from switchboard_wire.v1 import frames_pb2 as pb

# Weight of the newest answer in the moving average; a slower answer counts at once (peak EWMA)
LATENCY_DECAY = 0.1
# An instance that gets no calls because it was slow is worth another look: its average fades with each report
LATENCY_FADE = 0.9
# Of AgentNodes that do not say
DEFAULT_WEIGHT = 100
# AgentNodes of agents that clients' sessions host: none, so that no sidecar can claim one of them
ATTACHED = frozenset({""})


@dataclass(slots=True, eq=False)
class Instance:
    """One instance as its link shows it. Counts are this gateway's own.

    principal: its SPIFFE id, where tokens are checked.
    hosted: agents that are ready, by name; all_hosted: with those that load or failed. base_weight: its AgentNode's.
    is_attached: no sidecar but a client's session, or, a relay, another gateway, whose sessions host the agents.
    capacity, free, full and weight follow from the rest: see `adjust` and switchboard_routing.balance.Candidate.
    """

    peer: Peer
    namespace: str
    node: str
    name: str
    pod_uid: str = ""
    zone: str = ""
    principal: str = ""
    concurrency: int = 16
    queue: int = 100
    base_weight: int = DEFAULT_WEIGHT
    is_attached: bool = False
    is_relay: bool = False
    joined: float = 0.0
    in_flight: int = 0
    latency_s: float = 0.0
    has_answered: bool = False  # since the last report
    draining: bool = False
    generation: int = 0
    hosted: frozenset[str] = frozenset()
    all_hosted: tuple[pb.HostedAgent, ...] = ()
    load: pb.Load | None = None
    capacity: float = 16.0
    free: int = 16
    full: int = 116
    weight: float = 0.0

    @property
    def types(self) -> set[str]:
        """Under which its agents call others."""
        return {agent.type for agent in self.all_hosted}

    def answered(self, seconds: float) -> None:
        """Take the time of one answer into the moving average."""
        known = self.latency_s
        self.latency_s = seconds if seconds > known else known + LATENCY_DECAY * (seconds - known)
        self.has_answered = True

    def reported(self, load: pb.Load, now: float) -> None:
        """Take what the instance says of its load."""
        self.load = load
        if not self.has_answered:
            self.latency_s *= LATENCY_FADE
        self.has_answered = False
        self.adjust(now)

    def adjust(self, now: float) -> None:
        """Reckon anew how much it can take, from its age and its load."""
        warm = warmth(now - self.joined)
        self.capacity = self.concurrency * warm
        self.free = max(1, int(self.capacity))
        self.full = self.concurrency + self.queue
        load = self.load
        report = None if load is None else Report(load.cpu, load.memory, load.latency_ms, load.error_rate)
        dynamic = dynamic_weight(self.base_weight, report, available=self.in_flight < self.full)
        self.weight = dynamic * warm if self.base_weight else 0.0  # who says 0 wants none


Route = Pool[Instance]
OnCircuit = Callable[[Route, Instance, State], None]


class Table:
    """Directory and instances joined: (namespace, agent name) → Route. Rebuilt on changes, read on every call.

    zone: this gateway's; on_circuit: told of every circuit that changes; on_left: of a route that instances have left
    whose circuits were not closed.
    """

    def __init__(self, rng: Rng, on_circuit: OnCircuit, on_left: Callable[[Route], None]) -> None:
        self._rng = rng
        self._on_circuit = on_circuit
        self._on_left = on_left
        self.zone = ""
        self.changes = Changes()  # of everything here but the instances' load
        self.declared = Directory()
        self.policies: dict[tuple[str, str], AgentPolicy] = {}
        self.routes: dict[tuple[str, str], Route] = {}
        self.by_type: dict[tuple[str, str], list[Route]] = {}
        self.by_capability: dict[tuple[str, str], list[Route]] = {}
        self.instances: dict[int, Instance] = {}  # by id(peer)
        self._placed: dict[int, frozenset[str]] = {}  # by id(instance), the agents in whose routes it may be

    def rebuild(self, directory: Directory) -> None:
        """Take a new directory; routes that stay keep their balancer's state."""
        self.declared = directory
        old, self.routes, self.policies = self.routes, {}, {}
        for policy in directory.policies():
            key = (policy.namespace, policy.name)
            self.routes[key] = old.pop(key) if key in old else self._new_route(policy)
            self.policies[key] = policy
        for gone in old.values():
            self._update(gone, gone.policy, ())
        self.by_type = self._index(directory.by_type)
        self.by_capability = self._index(directory.by_capability)
        self.refresh()

    def refresh(self) -> None:
        """Say anew which instances can answer for which Agent."""
        hosting: dict[tuple[str, str], list[Instance]] = defaultdict(list)
        self._placed = {}
        for instance in self.instances.values():
            if not instance.draining:
                self._placed[id(instance)] = instance.hosted
                for name in instance.hosted:
                    hosting[instance.namespace, name].append(instance)
        for key, route in self.routes.items():
            policy = self.policies[key]
            self._update(route, policy, [i for i in hosting.get(key, ()) if is_bound(policy, i)])
        self.changes.note()

    def place(self, instance: Instance) -> None:
        """Say anew for which Agents one instance can answer: of a thousand that come at once, each changes its own."""
        is_here = self.instances.get(id(instance.peer)) is instance and not instance.draining
        after: frozenset[str] = instance.hosted if is_here else frozenset()
        before = self._placed.pop(id(instance), frozenset())
        if is_here:
            self._placed[id(instance)] = after
        for name in before | after:
            route = self.routes.get((instance.namespace, name))
            if route is None:
                continue
            policy = self.policies[instance.namespace, name]
            others = [i for i in route.instances if i is not instance]
            bound = [instance] if name in after and is_bound(policy, instance) else []
            self._update(route, policy, [*others, *bound])
        self.changes.note()

    def _update(self, route: Route, policy: AgentPolicy, instances: Iterable[Instance]) -> None:
        suspects = route.suspects
        route.update(policy, instances, self.zone)
        if suspects and route.suspects != suspects:
            self._on_left(route)

    def _new_route(self, policy: AgentPolicy) -> Route:
        def on_change(instance: Instance, state: State) -> None:
            self._on_circuit(route, instance, state)

        route = Route(policy, self._rng, on_change)
        return route

    def _index(self, found: Mapping[TypeKey, tuple[AgentPolicy, ...]]) -> dict[TypeKey, list[Route]]:
        return {
            key: [self.routes[policy.namespace, policy.name] for policy in policies] for key, policies in found.items()
        }


def is_bound(policy: AgentPolicy, instance: Instance) -> bool:
    """Whether the Agent is placed on the instance's AgentNode: an instance may say that it hosts anything."""
    if instance.is_attached or policy.nodes == ATTACHED:
        return instance.is_attached and policy.nodes == ATTACHED
    return policy.nodes is None or instance.node in policy.nodes


def announced_policies(instances: Iterable[Instance], nodes: frozenset[str] | None = None) -> list[AgentPolicy]:
    """Policies of agents that only their hosts know: one per namespace and name, with every default."""
    found: dict[tuple[str, str], AgentPolicy] = {}
    for instance in instances:
        for agent in instance.all_hosted:
            found[instance.namespace, agent.name] = policy_of(instance.namespace, agent, nodes)
    return list(found.values())


def policy_of(namespace: str, agent: pb.HostedAgent, nodes: frozenset[str] | None) -> AgentPolicy:
    """The policy of an agent that only its hosts know: what they say of it, and every default."""
    return AgentPolicy(
        namespace=namespace,
        name=agent.name,
        type=agent.type,
        version=agent.version,
        description=agent.description,
        nodes=nodes,
        capabilities=tuple(Capability(found.name, found.version) for found in agent.capabilities),
        topics=tuple(Subscription(found.topic, found.prefix) for found in agent.topics),
    )
