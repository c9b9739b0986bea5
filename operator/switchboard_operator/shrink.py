"""Which pods go when a pool shrinks: those that miss least. Pure.

The ReplicaSet controller deletes pods that are not ready first and then those of the lowest
`controller.kubernetes.io/pod-deletion-cost` (KEP-2255). So the pods chosen here are marked with a low cost, the marks
are seen in the watch, and only then does the Deployment get its smaller number.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from switchboard_operator.instances import Instance
from switchboard_operator.objects import DEPLOYMENT, Pod
from switchboard_operator.snapshot import NodeSnapshot

# Below whatever users or other controllers write, and recognisable as ours
CHOSEN: Final = "-1000000000"

_UNHEALTHY: Final = frozenset({"Down", "Degraded"})


@dataclass(frozen=True, slots=True)
class Mark:
    """Write the deletion cost of a pod; None takes ours away."""

    pod: Pod
    cost: str | None


@dataclass(frozen=True, slots=True)
class Shrink:
    """The number for the Deployment now, and the marks to write; `waits`: the wish is smaller than that number."""

    replicas: int
    marks: tuple[Mark, ...] = ()
    waits: bool = False


def plan_shrink(snapshot: NodeSnapshot, wanted: int, instances: Iterable[Instance], *, is_patient: bool) -> Shrink:
    """What may be done now so that the pool has `wanted` pods.

    Not `is_patient`: waited long enough for marks to be seen and for instances to be heard; the number counts.
    """
    current = _current(snapshot)
    living = [pod for pod in snapshot.pods if not pod.deleting and not pod.finished]
    if current is None or wanted >= current:
        stale = len(living) <= wanted  # else the chosen ones are about to be deleted
        return Shrink(wanted, tuple(Mark(pod, None) for pod in living if stale and pod.deletion_cost == CHOSEN))
    by_pod = {instance.pod.uid: instance for instance in instances}
    chosen = choose_pods(living, len(living) - wanted, by_pod)
    if not chosen or len(chosen) == len(living) or not is_patient:
        return Shrink(wanted)
    if any(pod.ready and _work(by_pod.get(pod.uid)) is None for pod in living):
        return Shrink(current, waits=True)
    marks = _marks(living, chosen)
    return Shrink(current, marks, waits=True) if marks else Shrink(wanted)


def choose_pods(living: Sequence[Pod], count: int, instances: Mapping[str, Instance]) -> list[Pod]:
    """The `count` pods that go first: not ready, unhealthy, idle, then with the least work; the newest of equals.

    Among equals those go first that have most company in their zone. instances: by pod UID.
    """
    if count <= 0:
        return []
    order = sorted(living, key=lambda pod: pod.name)
    order.sort(key=lambda pod: pod.created, reverse=True)
    order.sort(key=lambda pod: _rank(pod, instances.get(pod.uid)))
    company = _company(order, instances)
    order.sort(key=lambda pod: (_rank(pod, instances.get(pod.uid)), -company[pod.uid]))
    return order[:count]


def _rank(pod: Pod, instance: Instance | None) -> tuple[bool, bool, bool, bool, bool, bool, int]:
    """Lower goes first. A pod that is marked goes before its equals, so that a choice made stands."""
    work = _work(instance)
    return (
        bool(pod.node_name),
        pod.running,
        pod.ready,
        instance is not None and instance.state not in _UNHEALTHY,
        work != 0,
        pod.deletion_cost != CHOSEN,
        work or 0,
    )


def _company(order: Sequence[Pod], instances: Mapping[str, Instance]) -> dict[str, int]:
    """By pod UID, how many pods of its zone (without zones: of its Kubernetes node) go after it."""
    seen: dict[str, int] = defaultdict(int)
    company = {}
    for pod in reversed(order):
        instance = instances.get(pod.uid)
        place = (instance.zone if instance is not None else pod.zone) or pod.node_name
        company[pod.uid] = seen[place]
        seen[place] += 1
    return company


def _marks(living: Iterable[Pod], chosen: Iterable[Pod]) -> tuple[Mark, ...]:
    """Those not ready go first without a mark."""
    uids = {pod.uid for pod in chosen}
    marks = [Mark(pod, CHOSEN) for pod in living if pod.uid in uids and pod.ready and pod.deletion_cost != CHOSEN]
    return (*marks, *(Mark(pod, None) for pod in living if pod.uid not in uids and pod.deletion_cost == CHOSEN))


def _work(instance: Instance | None) -> int | None:
    """Messages that it has; None when it has not said. What is Down says nothing that counts."""
    if instance is None or instance.load is None:
        return 0 if instance is not None and instance.state in _UNHEALTHY else None
    return instance.load.work


def _current(snapshot: NodeSnapshot) -> int | None:
    deployment = snapshot.children.get(DEPLOYMENT)
    if deployment is None or deployment.meta.owner_uid != snapshot.node.meta.uid:
        return None
    replicas: int = deployment.spec.get("replicas", 1)
    return replicas
