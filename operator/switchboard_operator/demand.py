"""What gateways say of the work for each AgentNode: calls that wait, calls under way, and when there last was one.

Pure: `now` is always given, of the receiver's monotonic clock but where it is said to be UTC.
"""

import datetime
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from switchboard_operator.instances import Instance
from switchboard_operator.registry import Pool, Registry
from switchboard_wire.internal_v1.registry_pb2 import Demand as Said

# Five heartbeats of a gateway: one that is silent for longer says nothing any more
SILENT_S: Final = 10.0
# For so long a pod that has never been ready keeps its pool awake, or for twice the pool's idle time if that is more:
# images and models of many gigabytes are there by then, and a pod that never gets ready must not hold its pool for ever
LONG_START_S: Final = 900.0


@dataclass(frozen=True, slots=True)
class Demand:
    """The work for one AgentNode. held: calls that wait at gateways. idle_s: how long there was none of any kind.

    idle_s is 0 while there is work and also while nobody could tell that there is.
    """

    held: int = 0
    in_flight: int = 0
    idle_s: float = 0.0


NOTHING: Final = Demand()


@dataclass(slots=True)
class Voice:
    """One gateway's stream: what it said last, and when."""

    heard: float
    calls: dict[Pool, tuple[int, int]] = field(default_factory=dict)  # held, in flight


@dataclass(slots=True)
class Demands:
    """What all gateways say. One task owns it; the rest read."""

    _voices: list[Voice] = field(default_factory=list)
    _worked: dict[Pool, float] = field(default_factory=dict)
    _asleep: set[Pool] = field(default_factory=set)

    def join(self, now: float) -> Voice:
        """A gateway's stream begins."""
        voice = Voice(now)
        self._voices.append(voice)
        return voice

    def leave(self, voice: Voice) -> None:
        """The stream is lost: its calls are another's, or nobody's."""
        self._voices.remove(voice)

    def hear(self, voice: Voice, said: Said, now: float) -> list[Pool]:
        """Take a report: the AgentNodes with calls now or since the last one. Returns those for which calls wait."""
        voice.heard = now
        voice.calls = {(each.namespace, each.node): (each.held, each.in_flight) for each in said.nodes}
        for pool in voice.calls:
            if pool in self._worked:
                self._worked[pool] = now
        return [pool for pool, (held, _) in voice.calls.items() if held]

    def watch(self, pool: Pool, replicas: int, now: float) -> None:
        """The AgentNode may sleep, and its spec says so many replicas: from now on note when it has work.

        Whoever raises it from none wants it, and its idle time starts anew: a person too, of whose wish no call tells.
        """
        self._worked.setdefault(pool, now)
        if not replicas:
            self._asleep.add(pool)
        elif pool in self._asleep:
            self._asleep.discard(pool)
            self._worked[pool] = now

    def is_watched(self, pool: Pool) -> bool:
        """Whether the AgentNode may sleep."""
        return pool in self._worked

    def forget(self, pool: Pool) -> None:
        """The AgentNode is gone, or never sleeps."""
        self._worked.pop(pool, None)
        self._asleep.discard(pool)

    def held(self, now: float) -> dict[Pool, int]:
        """The AgentNodes for which calls wait, with how many."""
        waiting: dict[Pool, int] = {}
        for voice in self._speaking(now):
            for pool, (held, _) in voice.calls.items():
                if held:
                    waiting[pool] = waiting.get(pool, 0) + held
        return waiting

    def of(self, pool: Pool, instances: Iterable[Instance], registry: Registry, now: float) -> Demand:
        """The work for an AgentNode; instances: its own."""
        voices = self._speaking(now)
        said = [voice.calls[pool] for voice in voices if pool in voice.calls]
        held, in_flight = sum(calls[0] for calls in said), sum(calls[1] for calls in said)
        worked = self._worked.get(pool)
        if not voices or worked is None or held or in_flight:
            return Demand(held, in_flight)
        for instance in instances:
            record = registry.get(instance.pod.uid)
            if record is None or record.load is None or instance.state in ("Degraded", "Down"):
                if instance.pod.ready:
                    return Demand()  # it may be at work, and it may have been a moment ago
                continue
            worked = now if record.load.work else max(worked, record.worked)
        return Demand(idle_s=max(0.0, now - worked))

    def _speaking(self, now: float) -> list[Voice]:
        return [voice for voice in self._voices if now - voice.heard <= SILENT_S]


def is_starting(instances: Iterable[Instance], registry: Registry, limit_s: float, now: str) -> bool:
    """Whether an instance is on its way to its first readiness, which is work: the call that woke it may have given up.

    limit_s: the pool's idle time. now: UTC in RFC 3339, for the age of a pod is told by the API server alone.
    """
    bound_s = max(LONG_START_S, 2 * limit_s)
    return any(
        _was_never_ready(instance, registry) and _age_s(instance.pod.created, now) < bound_s for instance in instances
    )


def _was_never_ready(instance: Instance, registry: Registry) -> bool:
    pod, record = instance.pod, registry.get(instance.pod.uid)
    return not (pod.ready or pod.deleting or (record is not None and record.was_ready))


def _age_s(created: str, now: str) -> float:
    return (datetime.datetime.fromisoformat(now) - datetime.datetime.fromisoformat(created)).total_seconds()
