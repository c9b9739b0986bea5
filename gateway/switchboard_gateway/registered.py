"""Agents that code registered and no Agent declares: policies of what the instances of dynamic AgentNodes announce."""

from collections.abc import Collection, Iterable
from typing import Final

from switchboard_gateway.instances import Instance, policy_of
from switchboard_routing.policy import AgentPolicy
from switchboard_wire.v1 import frames_pb2 as pb

Key = tuple[str, str]  # namespace, and an Agent's name or an AgentNode's

# As long as a host takes to start anew: calls for its agents are held meanwhile and not refused as unknown
REMEMBERED_S: Final = 60.0


class Registered:
    """Remembers what was announced, and for how long nobody has announced it."""

    def __init__(self) -> None:
        self._seen: dict[Key, tuple[AgentPolicy, float]] = {}

    def update(self, instances: Iterable[Instance], nodes: Collection[Key], now: float) -> bool:
        """Take what the instances of `nodes` announce; whether that changes any policy."""
        if not nodes and not self._seen:
            return False
        before = {key: policy for key, (policy, _) in self._seen.items()}
        found = _announced(instance for instance in instances if (instance.namespace, instance.node) in nodes)
        self._seen = {
            key: (policy, since)
            for key, (policy, since) in self._seen.items()
            if now - since < REMEMBERED_S and any((key[0], node) in nodes for node in policy.nodes or ())
        }
        self._seen |= {key: (policy, now) for key, policy in found.items()}
        return before != {key: policy for key, (policy, _) in self._seen.items()}

    def policies(self, declared: Iterable[AgentPolicy]) -> list[AgentPolicy]:
        """Those whose name and type no declared Agent has: what people declare comes before what code says."""
        taken = {(policy.namespace, name) for policy in declared for name in (policy.name, policy.type)}
        return [
            policy
            for policy, _ in self._seen.values()
            if not {(policy.namespace, policy.name), (policy.namespace, policy.type)} & taken
        ]


def _announced(instances: Iterable[Instance]) -> dict[Key, AgentPolicy]:
    """One policy with every default for each namespace and name, on all AgentNodes whose instances announce it."""
    agents: dict[Key, pb.HostedAgent] = {}
    nodes: dict[Key, set[str]] = {}
    for instance in instances:
        for agent in instance.all_hosted:
            if agent.type and agent.state != pb.HOSTED_FAILED:
                key = (instance.namespace, agent.name)
                agents[key] = agent
                nodes.setdefault(key, set()).add(instance.node)
    return {key: policy_of(key[0], agent, frozenset(nodes[key])) for key, agent in agents.items()}
