"""The numbers behind the metrics: of an instance, and of all instances of an AgentNode. Pure."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from switchboard_operator.load import RATE_WINDOW_S, Load
from switchboard_operator.objects import Pod
from switchboard_operator.registry import Patience, Pool, Record, Registry


@dataclass(frozen=True, slots=True)
class Metric:
    """A number of each instance; those of a pool are added up. window_s: 0 for the value of a moment."""

    name: str
    parts: Callable[[Load], float]
    is_share: bool = False  # of the messages that the instances can take at once
    window_s: float = 0.0


METRICS: Final[Mapping[str, Metric]] = {
    metric.name: metric
    for metric in (
        Metric("in_flight", lambda load: load.in_flight),
        Metric("queued", lambda load: load.queued),
        Metric("messages_per_second", lambda load: load.messages_per_second, window_s=RATE_WINDOW_S),
        # Above 1, messages wait
        Metric("saturation", lambda load: load.in_flight + load.queued, is_share=True),
    )
}


@dataclass(frozen=True, slots=True)
class Reading:
    """A value, and how old the oldest number in it is."""

    value: float
    age_s: float


class NoReading(Exception):
    """There is no number that an autoscaler should act upon; the text says why."""


def read_instance(pod: Pod, registry: Registry, metric: Metric, now: float) -> Reading:
    """One instance's number; raises NoReading unless its sidecar has spoken lately."""
    record = registry.get(pod.uid)
    if record is None or not _is_fresh(record, registry.patience(record.pool), now):
        raise NoReading(f"pod {pod.name} has sent no heartbeat lately")
    return Reading(_value([record], registry, metric), now - record.heard)


def read_pool(pool: Pool, pods: Iterable[Pod], registry: Registry, metric: Metric, now: float) -> Reading:
    """The number of all instances together, without those that are going: their work needs no successor.

    Ready pods that are silent count as the average of the others. When most are silent it is this replica that has
    just begun or is cut off: raises NoReading, upon which an autoscaler leaves the pool as it is.
    """
    staying = [pod for pod in pods if not (pod.deleting or pod.finished)]
    if not staying:
        return Reading(0.0, 0.0)
    patience, heard, silent = registry.patience(pool), [], 0
    for pod in staying:
        record = registry.get(pod.uid)
        if record is not None and _is_fresh(record, patience, now):
            heard += [] if record.draining else [record]
        else:
            silent += pod.ready
    if silent > len(heard) or not heard:
        raise NoReading(f"{len(heard)} of {len(staying)} instances of AgentNode {pool[1]} have sent a heartbeat lately")
    value = _value(heard, registry, metric)
    if not metric.is_share:
        value *= (len(heard) + silent) / len(heard)
    return Reading(value, max(now - record.heard for record in heard))


def _value(records: Iterable[Record], registry: Registry, metric: Metric) -> float:
    counted = [(record, record.load) for record in records if record.load is not None]
    total = sum(metric.parts(load) for _, load in counted)
    return total / max(1, sum(registry.concurrency_of(record) for record, _ in counted)) if metric.is_share else total


def _is_fresh(record: Record, patience: Patience, now: float) -> bool:
    """By the same measure as Degraded."""
    return record.load is not None and now - record.heard <= patience.degraded_s
