"""The live registry as a table that can be asked: instances with their load, by AgentNode, type and more. Pure."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from switchboard_operator.binding import type_of
from switchboard_operator.instances import Instance, observe_instances
from switchboard_operator.objects import Pod, Resource, spec_concurrency
from switchboard_operator.registry import Record, Registry
from switchboard_operator.snapshot import Indexes
from switchboard_routing.weights import Report, dynamic_weight
from switchboard_wire.v1 import frames_pb2 as pb
from switchboard_wire.v1.instances_pb2 import InstanceList, InstanceQuery, InstanceReport

# An answer stays below a gRPC message of 1 MiB, with all the agents that instances name
MAX_ROWS: Final = 500
MAX_AGENTS: Final = 8
# The scale of the weight by which gateways choose, of which the score is a share
FULL_WEIGHT: Final = 1000

_STATES: Final = {"Ready": pb.HOSTED_READY, "Failed": pb.HOSTED_FAILED}
_FIELDS: Final = ("namespace", "node", "type", "capability", "zone", "state")


@dataclass(frozen=True, slots=True)
class Pool:
    """What is known of one AgentNode without its sidecars' word."""

    node: Resource
    pods: tuple[Pod, ...]
    zones: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class World:
    """One moment of the indexes. agents: by namespace and name."""

    pools: tuple[Pool, ...]
    agents: Mapping[tuple[str, str], Resource]


@dataclass(frozen=True, slots=True)
class Row:
    """One instance, and by what it is found."""

    report: InstanceReport
    keys: frozenset[tuple[str, str]]  # (field of the query, value)


class Catalog:
    """Rows with an index on every field of the query."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self._rows: Sequence[Row] = sorted(
            rows, key=lambda row: (row.report.namespace, row.report.node, row.report.name)
        )
        self._index: dict[tuple[str, str], set[int]] = defaultdict(set)
        for number, row in enumerate(self._rows):
            for key in row.keys:
                self._index[key].add(number)

    def find(self, query: InstanceQuery) -> InstanceList:
        """The instances that match every field that is set."""
        asked = [(field, getattr(query, field)) for field in _FIELDS if getattr(query, field)]
        if asked:
            found = sorted(set.intersection(*(self._index.get(key, set()) for key in asked)))
        else:
            found = list(range(len(self._rows)))
        limit = min(query.limit or MAX_ROWS, MAX_ROWS)
        return InstanceList(instances=[self._rows[number].report for number in found[:limit]], total=len(found))


def read_world(indexes: Indexes) -> World:
    """What a catalog needs of the indexes, taken out of them at once."""
    pools = []
    for name, nodes in indexes.nodes.items():
        zones: dict[str, str] = {}
        for slice_zones in indexes.zones.get(name, ()):
            zones |= slice_zones
        pools += [Pool(node, tuple(indexes.pods.get(name, ())), zones) for node in nodes]
    agents = {name: agent for name, found in indexes.agents.items() for agent in found}
    return World(tuple(pools), agents)


def build_catalog(world: World, registry: Registry, now: float) -> Catalog:
    """The instances of every AgentNode with what their sidecars last said."""
    return Catalog(
        _row(pool.node, instance, registry.get(instance.pod.uid), world.agents, now)
        for pool in world.pools
        for instance in observe_instances(pool.pods, pool.zones, pool.node.status, registry, now)
    )


def score(instance: Instance, capacity: int) -> float:
    """0 to 1: the weight that a gateway would give it, as a share of the most; 0 for what takes nothing."""
    load = instance.load
    if instance.state not in ("Up", "Degraded") or load is None:
        return 0.0
    report = Report(load.cpu, load.memory, load.latency_ms, load.error_rate)
    return dynamic_weight(FULL_WEIGHT, report, available=load.work < capacity) / FULL_WEIGHT


def _row(
    node: Resource, instance: Instance, record: Record | None, agents: Mapping[tuple[str, str], Resource], now: float
) -> Row:
    pod, meta = instance.pod, node.meta
    capacity = pb.Capacity(concurrency=spec_concurrency(node), queue=node.spec.get("queueLength", 100))
    report = InstanceReport(
        namespace=meta.namespace,
        node=meta.name,
        name=pod.name,
        pod_uid=pod.uid,
        address=pod.address,
        zone=instance.zone,
        node_name=pod.node_name,
        state=instance.state,
        activity=instance.activity,
        version=instance.version,
        capacity=capacity,
        score=score(instance, capacity.concurrency + capacity.queue),
    )
    keys = {("namespace", meta.namespace), ("node", meta.name), ("zone", instance.zone), ("state", instance.state)}
    for hosted in instance.agents:
        agent = agents.get((meta.namespace, hosted.name))
        type_ = type_of(agent) if agent is not None else hosted.type or hosted.name
        if len(report.agents) < MAX_AGENTS:
            report.agents.add(name=hosted.name, type=type_, state=_STATES.get(hosted.state, pb.HOSTED_LOADING))
        keys.add(("type", type_))
        keys |= {("capability", name) for name in _capabilities(agent, hosted.capabilities)}
    if instance.load is not None and record is not None:
        report.load.CopyFrom(_load(instance))
        report.age_ms = max(0, int((now - record.heard) * 1000))
    return Row(report, frozenset(keys))


def _capabilities(agent: Resource | None, registered: Sequence[str]) -> Iterable[str]:
    return registered if agent is None else [found["name"] for found in agent.spec.get("capabilities") or ()]


def _load(instance: Instance) -> pb.Load:
    load = instance.load
    assert load is not None
    return pb.Load(
        in_flight=load.in_flight,
        queued=load.queued,
        cpu=load.cpu,
        memory=load.memory,
        messages_per_second=load.messages_per_second,
        error_rate=load.error_rate,
        latency_ms=load.latency_ms,
        messages=load.messages,
        failures=load.failures,
    )
