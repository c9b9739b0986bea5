"""From what is wanted to the list of values: which objects, and what the registry knows of them. Pure."""

import datetime
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from switchboard_operator.metrics_api.documents import (
    EXTERNAL_GROUP,
    PODS,
    POOL_LABEL,
    Json,
    Measured,
    Refusal,
    custom_list,
    external_list,
)
from switchboard_operator.metrics_api.readings import NoReading, Reading, read_instance, read_pool
from switchboard_operator.metrics_api.routes import ALL, Wanted
from switchboard_operator.objects import Pod
from switchboard_operator.registry import Registry
from switchboard_operator.snapshot import Indexes


@dataclass(frozen=True, slots=True)
class Subject:
    """An object with the pods that make its number."""

    name: str
    pool: str
    pods: tuple[Pod, ...]


@dataclass(frozen=True, slots=True)
class Moment:
    """now: of the registry's clock. utc: the same for people."""

    now: float
    utc: datetime.datetime


def find_subjects(indexes: Indexes, wanted: Wanted) -> list[Subject]:
    """The objects that are asked for, by name."""
    found = []
    for node in indexes.nodes_in.get(wanted.namespace, ()):
        pool = node.meta.name
        if not wanted.fits({POOL_LABEL: pool}):
            continue
        pods = tuple(indexes.pods.get((wanted.namespace, pool), ()))
        if wanted.resource != PODS:
            if _is_wanted(wanted, pool, node.meta.labels):
                found.append(Subject(pool, pool, pods))
        else:
            found += [Subject(pod.name, pool, (pod,)) for pod in pods if _is_wanted(wanted, pod.name, pod.labels)]
    return sorted(found, key=lambda subject: subject.name)


def answer(wanted: Wanted, subjects: Iterable[Subject], registry: Registry, moment: Moment) -> Json:
    """The list of values. Objects without a number are left out; raises Refusal when it was asked for by name."""
    measured = list(_measure(wanted, subjects, registry, moment))
    if wanted.group == EXTERNAL_GROUP:
        return external_list(measured)
    if wanted.name != ALL and not measured:
        raise Refusal(404, "NotFound", f"there is no {wanted.resource} {wanted.name} in {wanted.namespace}")
    return custom_list(wanted.resource, measured)


def _measure(wanted: Wanted, subjects: Iterable[Subject], registry: Registry, moment: Moment) -> Iterator[Measured]:
    for subject in subjects:
        try:
            reading = _read(wanted, subject, registry, moment.now)
        except NoReading as why:
            if wanted.name != ALL:
                raise Refusal(404, "NotFound", f"{wanted.metric.name} of {subject.name}: {why}") from why
            continue
        yield Measured(wanted.namespace, subject.name, wanted.metric, reading, moment.utc)


def _read(wanted: Wanted, subject: Subject, registry: Registry, now: float) -> Reading:
    if wanted.resource == PODS:
        return read_instance(subject.pods[0], registry, wanted.metric, now)
    return read_pool((wanted.namespace, subject.pool), subject.pods, registry, wanted.metric, now)


def _is_wanted(wanted: Wanted, name: str, labels: Mapping[str, str]) -> bool:
    if wanted.name != ALL:
        return wanted.name == name
    return wanted.selects(labels)
