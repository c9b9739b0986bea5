"""The Agents that the gateway knows, indexed by what a caller may ask for. A plain value: replaced, never changed."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from switchboard_routing.policy import AgentPolicy

TypeKey = tuple[str, str]  # namespace, type


@dataclass(frozen=True, slots=True)
class Directory:
    """by_type, by_capability, by_topic: (namespace, type, capability or topic) → policies, in the order of their names.

    by_prefix: namespace → (how a topic begins, policy).
    """

    by_type: Mapping[TypeKey, tuple[AgentPolicy, ...]] = field(default_factory=dict)
    by_capability: Mapping[TypeKey, tuple[AgentPolicy, ...]] = field(default_factory=dict)
    by_topic: Mapping[TypeKey, tuple[AgentPolicy, ...]] = field(default_factory=dict)
    by_prefix: Mapping[str, tuple[tuple[str, AgentPolicy], ...]] = field(default_factory=dict)

    def types(self, namespace: str) -> list[str]:
        return sorted(type_ for found, type_ in self.by_type if found == namespace)

    def capabilities(self, namespace: str) -> list[str]:
        return sorted(name for found, name in self.by_capability if found == namespace)

    def subscribers(self, namespace: str, topic: str) -> list[AgentPolicy]:
        """Every Agent that is subscribed to a topic, once, by name."""
        found = {policy.name: policy for policy in self.by_topic.get((namespace, topic), ())}
        for prefix, policy in self.by_prefix.get(namespace, ()):
            if topic.startswith(prefix):
                found[policy.name] = policy
        return [found[name] for name in sorted(found)]

    def policies(self) -> list[AgentPolicy]:
        return [policy for found in self.by_type.values() for policy in found]


def build_directory(policies: Iterable[AgentPolicy]) -> Directory:
    """Index policies. They must be free of conflicts: of one type in one namespace, no two of one version."""
    by_type: dict[TypeKey, list[AgentPolicy]] = defaultdict(list)
    by_capability: dict[TypeKey, list[AgentPolicy]] = defaultdict(list)
    by_topic: dict[TypeKey, list[AgentPolicy]] = defaultdict(list)
    by_prefix: dict[str, list[tuple[str, AgentPolicy]]] = defaultdict(list)
    for policy in sorted(policies, key=lambda policy: (policy.namespace, policy.name)):
        by_type[policy.namespace, policy.type].append(policy)
        for capability in policy.capabilities:
            by_capability[policy.namespace, capability.name].append(policy)
        for subscription in policy.topics:
            if subscription.prefix:
                by_prefix[policy.namespace].append((subscription.topic, policy))
            else:
                by_topic[policy.namespace, subscription.topic].append(policy)
    return Directory(
        {key: tuple(found) for key, found in by_type.items()},
        {key: tuple(found) for key, found in by_capability.items()},
        {key: tuple(found) for key, found in by_topic.items()},
        {namespace: tuple(entries) for namespace, entries in by_prefix.items()},
    )
