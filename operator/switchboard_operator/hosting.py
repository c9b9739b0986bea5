"""On which instances each agent of an AgentNode is ready: summed up once for the pool, not for each Agent. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from switchboard_operator.instances import Instance
from switchboard_operator.objects import Resource
from switchboard_operator.registry import HostedState, Pool

_SERVING: Final = ("Up", "Degraded")


@dataclass(frozen=True, slots=True)
class Hosting:
    """One agent on some instances.

    instances: all that are not Down. unknown: those that serve, host it or not, and have not said which.
    failure: where and why it failed, of one instance.
    """

    instances: int = 0
    ready: int = 0
    unknown: int = 0
    failure: str = ""

    def __add__(self, other: "Hosting") -> "Hosting":
        return Hosting(
            self.instances + other.instances,
            self.ready + other.ready,
            self.unknown + other.unknown,
            self.failure or other.failure,
        )


@dataclass(frozen=True, slots=True)
class PoolHosting:
    """Every agent on the instances of one AgentNode. `rest`: of an agent that none of them names."""

    rest: Hosting = Hosting()
    agents: Mapping[str, Hosting] = field(default_factory=lambda: MappingProxyType({}))

    def of(self, agent: str) -> Hosting:
        """Where this agent is."""
        return self.agents.get(agent, self.rest)


def signature_of(instances: Iterable[Instance]) -> tuple[object, ...]:
    """What the hosting follows from: as long as it stays, so does the hosting."""
    return tuple((i.pod.uid, i.state, i.agents, i.is_cut) for i in instances)


def hosting_of(instances: Iterable[Instance]) -> PoolHosting:
    """Sum up the instances of one AgentNode."""
    total = cut = 0
    named: dict[str, _Count] = {}
    for instance in instances:
        serves, is_down = instance.state in _SERVING, instance.state == "Down"
        total += not is_down
        is_unsaid = serves and instance.is_cut
        cut += is_unsaid
        for hosted in instance.agents:
            count = named.setdefault(hosted.name, _Count())
            count.ready += serves and hosted.state == "Ready"
            count.said += is_unsaid
            if not count.failure and not is_down and hosted.state == "Failed":
                count.failure = _failure(instance, hosted)
    agents = {name: Hosting(total, count.ready, cut - count.said, count.failure) for name, count in named.items()}
    return PoolHosting(Hosting(total, 0, cut), agents)


@dataclass(slots=True)
class _Count:
    ready: int = 0
    said: int = 0  # on how many instances that have not said all of theirs it is known nonetheless
    failure: str = ""


def _failure(instance: Instance, hosted: HostedState) -> str:
    return f"on {instance.pod.name}: {hosted.message}"


@dataclass(slots=True)
class Hostings:
    """The last hosting of each AgentNode. One that is not known is summed up by who needs it."""

    _held: dict[Pool, tuple[str, tuple[object, ...], PoolHosting]] = field(default_factory=dict)

    def update(self, node: Resource, instances: Sequence[Instance], agents: Iterable[str]) -> list[str]:
        """Take the instances of the AgentNode as they are now; returns those of the agents for which that is news."""
        pool, signature = (node.meta.namespace, node.meta.name), signature_of(instances)
        before, held = self.get(node), self._held.get(pool)
        if before is not None and held is not None and held[1] == signature:
            return []
        after = hosting_of(instances)
        self._held[pool] = (node.meta.uid, signature, after)
        return [agent for agent in agents if before is None or before.of(agent) != after.of(agent)]

    def get(self, node: Resource) -> PoolHosting | None:
        """What is known of the AgentNode."""
        uid, _, hosting = self._held.get((node.meta.namespace, node.meta.name), ("", None, None))
        return hosting if uid == node.meta.uid else None

    def forget(self, pool: Pool) -> None:
        """The AgentNode is gone."""
        self._held.pop(pool, None)

    def clear(self) -> None:
        """What is known may be old."""
        self._held.clear()
