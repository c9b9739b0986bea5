"""The live registry in memory: what each sidecar last said, and how old that is. Pure: `now` is always given.

All times are of the receiver's monotonic clock, so clocks of other machines do not matter.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from switchboard_operator.load import Load, fold_load
from switchboard_wire.internal_v1.registry_pb2 import Heartbeat
from switchboard_wire.v1.frames_pb2 import HOSTED_FAILED, HOSTED_READY, Hello, Hosted

# An activity must last before it is told: status is written for people, not sampled
ACTIVITY_HOLDS_S: Final = 30.0
# An instance that is silent for longer says nothing any more about who is cut off from whom
RECENT_S: Final = 600.0
# How long a Down instance is shown while its pod is still there
DOWN_SHOWN_S: Final = 60.0
# Whether that is so is judged at most so often: every silent instance asks, and the answer takes a look at all
DOUBT_HOLDS_S: Final = 0.5
# … and once it was so, who is still silent has the time in which sidecars come back
DOUBT_LINGERS_S: Final = 6.0
# With fewer instances than this, half of them lost is no sign that the fault is on this side
BRAKE_FROM: Final = 3

Pool = tuple[str, str]  # namespace and name of an AgentNode


@dataclass(frozen=True, slots=True)
class HostedState:
    """An agent on an instance: `state` Ready, Loading or Failed."""

    name: str
    state: str
    message: str = ""
    type: str = ""
    capabilities: tuple[str, ...] = ()  # of an agent that code registered


@dataclass(frozen=True, slots=True)
class Patience:
    """How old the last heartbeat may be, in seconds, from `spec.heartbeat`."""

    degraded_s: float = 6.0
    down_s: float = 10.0


@dataclass(frozen=True, slots=True)
class Record:
    """One instance as its sidecar describes it. `heard`: when it last spoke; `load`: None until its first heartbeat.

    `concurrency`: as of its introduction; its AgentNode's may have changed since then, which no heartbeat tells.
    `worked`: when it last had a message; its introduction and its first readiness count as one.
    `was_ready`: it has been ready since it registered.
    """

    pool: Pool
    instance: str
    pod_uid: str
    version: str
    heard: float
    ready: bool = False
    draining: bool = False
    generation: int = 0
    concurrency: int = 0
    agents: tuple[HostedState, ...] = ()
    activity: str = "Idle"
    next_activity: str = "Idle"
    next_since: float = 0.0
    load: Load | None = None
    worked: float = 0.0
    was_ready: bool = False
    hosted: Hosted | None = field(default=None, repr=False, compare=False)  # from which `agents` was read


def introduce(hello: Hello, now: float) -> Record:
    """The record of an instance that registers; registering again changes nothing but what it says."""
    return Record(
        pool=(hello.namespace, hello.node),
        instance=hello.instance,
        pod_uid=hello.pod_uid,
        version=hello.version[:64],
        heard=now,
        concurrency=hello.capacity.concurrency,
        agents=read_hosted(hello.hosted),
        generation=hello.hosted.generation,
        next_since=now,
        worked=now,
    )


def fold(record: Record, beat: Heartbeat, now: float, concurrency: int | None = None) -> Record:
    """The record after a heartbeat. concurrency: what holds now; None: what the record says."""
    load = fold_load(record.load, beat.load, now)
    # Sidecars say what is hosted when it has changed; comparing costs a tenth of reading
    is_same = not beat.HasField("hosted") or beat.hosted == record.hosted
    is_idle = record.load is not None and not load.work and load.messages == record.load.messages
    was_ready = record.was_ready or beat.ready
    seen = _activity_of(beat, record.concurrency if concurrency is None else concurrency)
    activity, next_activity, next_since = _activity_after(record, seen, now)
    # Not dataclasses.replace, which takes three times as long: of thousands of instances this is most of what is done
    return Record(
        pool=record.pool,
        instance=record.instance,
        pod_uid=record.pod_uid,
        version=record.version,
        heard=now,
        ready=beat.ready,
        draining=beat.draining,
        generation=max(beat.generation, beat.hosted.generation),
        concurrency=record.concurrency,
        agents=record.agents if is_same else read_hosted(beat.hosted),
        activity=activity,
        next_activity=next_activity,
        next_since=next_since,
        load=load,
        worked=record.worked if is_idle and was_ready == record.was_ready else now,
        was_ready=was_ready,
        hosted=record.hosted if is_same else beat.hosted,
    )


def state_of(record: Record, patience: Patience, now: float) -> str:
    """Starting, Up, Degraded, Draining or Down, by what it said and how long ago."""
    age = now - record.heard
    if age > patience.down_s:
        return "Down"
    if record.draining:
        return "Draining"
    if age > patience.degraded_s:
        return "Degraded"
    return "Up" if record.ready else "Starting"


def is_shown(record: Record, patience: Patience, now: float) -> bool:
    """Whether status lists it: one that is Down leaves the list after a while, and stays in the counts."""
    return now - record.heard <= patience.down_s + DOWN_SHOWN_S


def read_hosted(hosted: Hosted) -> tuple[HostedState, ...]:
    """The agents of an instance, by name and each once."""
    states = {HOSTED_READY: "Ready", HOSTED_FAILED: "Failed"}
    agents = {
        agent.name or agent.type: HostedState(
            agent.name or agent.type,
            states.get(agent.state, "Loading"),
            agent.message,
            agent.type,
            tuple(capability.name for capability in agent.capabilities),
        )
        for agent in hosted.agents
    }
    return tuple(agents[name] for name in sorted(agents))


def _activity_of(beat: Heartbeat, concurrency: int) -> str:
    load = beat.load
    if load.queued or (concurrency and load.in_flight >= concurrency):
        return "Saturated"
    return "Busy" if load.in_flight else "Idle"


def _activity_after(record: Record, seen: str, now: float) -> tuple[str, str, float]:
    """`activity`, `next_activity` and `next_since`, now that this was seen."""
    if seen != record.next_activity:
        return record.activity, seen, now
    if seen != record.activity and now - record.next_since >= ACTIVITY_HOLDS_S:
        return seen, record.next_activity, record.next_since
    return record.activity, record.next_activity, record.next_since


@dataclass(slots=True)
class Registry:
    """Every record, by pod UID. One task owns it; the rest read."""

    started: float
    grace_s: float = 20.0
    _records: dict[str, Record] = field(default_factory=dict)
    _pools: dict[Pool, set[str]] = field(default_factory=dict)
    _patience: dict[Pool, Patience] = field(default_factory=dict)
    _concurrency: dict[Pool, int] = field(default_factory=dict)
    _judged: float = -math.inf
    _doubted: float = -math.inf  # when it was last judged that most are silent

    def put(self, record: Record) -> None:
        """Keep the newest record of an instance."""
        former = self._records.get(record.pod_uid)
        if former is not None and former.pool != record.pool:
            self._pools[former.pool].discard(record.pod_uid)
        self._records[record.pod_uid] = record
        self._pools.setdefault(record.pool, set()).add(record.pod_uid)

    def get(self, pod_uid: str) -> Record | None:
        """The record of a pod."""
        return self._records.get(pod_uid)

    def of(self, pool: Pool) -> Mapping[str, Record]:
        """The records of an AgentNode, by pod UID."""
        return {uid: self._records[uid] for uid in self._pools.get(pool, ())}

    def pools(self) -> Iterable[Pool]:
        """The AgentNodes of which anything is known."""
        return tuple(self._pools)

    def reported_generation(self, pool: Pool) -> int:
        """The highest generation of assignments that an instance of the AgentNode has applied."""
        return max((record.generation for record in self.of(pool).values()), default=0)

    def set_patience(self, pool: Pool, patience: Patience | None) -> None:
        """How long to wait for this AgentNode's instances; None, as until it is told: the default."""
        if patience is None:
            self._patience.pop(pool, None)
        else:
            self._patience[pool] = patience

    def patience(self, pool: Pool) -> Patience:
        """How long to wait for this AgentNode's instances."""
        return self._patience.get(pool, Patience())

    def set_concurrency(self, pool: Pool, concurrency: int | None) -> None:
        """How many messages an instance of this AgentNode may have in its host; None when it is gone."""
        if concurrency is None:
            self._concurrency.pop(pool, None)
        else:
            self._concurrency[pool] = concurrency

    def concurrency_of(self, record: Record) -> int:
        """How many messages an instance may have in its host: as its AgentNode says, if that is known."""
        return self._concurrency.get(record.pool, record.concurrency)

    def in_grace(self, now: float) -> bool:
        """Just started: who has not registered yet may still be about to."""
        return now - self.started < self.grace_s

    def is_doubtful(self, now: float) -> bool:
        """More than half of all instances are silent, or just were: rather this process is cut off than all of them."""
        if not self._judged <= now < self._judged + DOUBT_HOLDS_S:
            self._judged = now
            if self._are_most_late(now):
                self._doubted = now
        return now - self._doubted < DOUBT_LINGERS_S

    def _are_most_late(self, now: float) -> bool:
        recent = [record for record in self._records.values() if now - record.heard < RECENT_S]
        late = sum(now - record.heard > self.patience(record.pool).degraded_s for record in recent)
        return len(recent) >= BRAKE_FROM and late * 2 > len(recent)

    def signatures(self, now: float) -> Iterator[tuple[str, Pool, object]]:
        """Of every record what would be told in status: when it changes, its AgentNode is to be looked at."""
        doubtful = self.is_doubtful(now)
        for uid, record in self._records.items():
            patience = self.patience(record.pool)
            state = "?" if doubtful else state_of(record, patience, now)
            shown = is_shown(record, patience, now)
            yield uid, record.pool, (state, shown, record.activity, record.agents, record.version)

    def forget(self, now: float, living: Iterable[str]) -> list[str]:
        """Drop what is no pod any more and has fallen silent; the UIDs dropped: none while most are silent."""
        if self.is_doubtful(now):
            return []
        alive = set(living)
        gone = [
            uid
            for uid, record in self._records.items()
            if uid not in alive and now - record.heard > self.patience(record.pool).down_s
        ]
        for uid in gone:
            pool = self._records.pop(uid).pool
            self._pools[pool].discard(uid)
            if not self._pools[pool]:
                del self._pools[pool]
        return gone
