"""Living instances and, per Agent, those of them that can answer now."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from switchboard_gateway.directory import Directory, TypeKey
from switchboard_routing.balance import Balancer, Rng
from switchboard_routing.policy import AgentPolicy, Capability
from switchboard_wire.peer import Peer
from switchboard_wire.v1 import frames_pb2 as pb

# Weight of the newest answer in the moving average; a slower answer counts at once (peak EWMA)
LATENCY_DECAY = 0.1


@dataclass(slots=True, eq=False)
class Instance:
    """One instance as its link shows it. Counts are this gateway's own.

    hosted: agents that are ready, by name; all_hosted: with those that load or failed.
    """

    peer: Peer
    namespace: str
    node: str
    name: str
    pod_uid: str = ""
    zone: str = ""
    concurrency: int = 16
    weight: float = 100.0
    in_flight: int = 0
    latency_s: float = 0.0
    draining: bool = False
    generation: int = 0
    hosted: frozenset[str] = frozenset()
    all_hosted: tuple[pb.HostedAgent, ...] = ()
    load: pb.Load = field(default_factory=pb.Load)

    def answered(self, seconds: float) -> None:
        """Take the time of one answer into the moving average."""
        known = self.latency_s
        self.latency_s = seconds if seconds > known else known + LATENCY_DECAY * (seconds - known)


class Route:
    """One Agent with the instances that can answer for it."""

    __slots__ = ("balancer", "instances", "policy")

    def __init__(self, policy: AgentPolicy, rng: Rng) -> None:
        self.policy = policy
        self.balancer: Balancer[Instance] = Balancer(rng)
        self.instances: list[Instance] = []


class Table:
    """Directory and instances joined: (namespace, agent name) → Route. Rebuilt on changes, read on every call."""

    def __init__(self, rng: Rng) -> None:
        self._rng = rng
        self.declared = Directory()
        self.routes: dict[tuple[str, str], Route] = {}
        self.by_type: dict[tuple[str, str], list[Route]] = {}
        self.by_capability: dict[tuple[str, str], list[Route]] = {}
        self.instances: dict[int, Instance] = {}  # by id(peer)

    def rebuild(self, directory: Directory) -> None:
        """Take a new directory; routes that stay keep their balancer's state."""
        self.declared = directory
        old, self.routes = self.routes, {}
        for policy in directory.policies():
            key = (policy.namespace, policy.name)
            route = old.get(key) or Route(policy, self._rng)
            route.policy = policy
            self.routes[key] = route
        self.by_type = self._index(directory.by_type)
        self.by_capability = self._index(directory.by_capability)
        self.refresh()

    def refresh(self) -> None:
        """Say anew which instances can answer for which Agent."""
        for route in self.routes.values():
            route.instances = [instance for instance in self.instances.values() if can_answer(instance, route.policy)]

    def _index(self, found: Mapping[TypeKey, tuple[AgentPolicy, ...]]) -> dict[TypeKey, list[Route]]:
        return {
            key: [self.routes[policy.namespace, policy.name] for policy in policies] for key, policies in found.items()
        }


def can_answer(instance: Instance, policy: AgentPolicy) -> bool:
    """Whether a call for the Agent may go to the instance: it hosts it, is up, and the Agent is bound to its node."""
    return (
        not instance.draining
        and instance.namespace == policy.namespace
        and policy.name in instance.hosted
        and (policy.nodes is None or instance.node in policy.nodes)
    )


def announced_policies(instances: Iterable[Instance]) -> list[AgentPolicy]:
    """Policies of agents that only their hosts know: one per namespace and name, with every default."""
    found: dict[tuple[str, str], AgentPolicy] = {}
    for instance in instances:
        for agent in instance.all_hosted:
            capabilities = tuple(Capability(capability.name, capability.version) for capability in agent.capabilities)
            found[instance.namespace, agent.name] = AgentPolicy(
                namespace=instance.namespace,
                name=agent.name,
                type=agent.type,
                version=agent.version,
                description=agent.description,
                capabilities=capabilities,
            )
    return list(found.values())
