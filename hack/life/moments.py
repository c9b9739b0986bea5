"""From what watches and calls said to a time line. Pure."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from live.kubectl import is_ready
from live.outcomes import OK, Outcome

from life.watching import Seen

Json = dict[str, Any]
COST: Final = "controller.kubernetes.io/pod-deletion-cost"


@dataclass(frozen=True, slots=True, order=True)
class Moment:
    """Something that happened."""

    at_s: float
    event: str


@dataclass(frozen=True, slots=True)
class Record:
    """All that was seen of a run. calls: every one that was sent, ended."""

    nodes: Sequence[Seen]
    pods: Sequence[Seen]
    scalers: Sequence[Seen]
    calls: Sequence[Outcome]
    notes: Sequence[Moment]


@dataclass(frozen=True, slots=True)
class Row:
    """A moment and how things stood then. wanted: AgentNode's `spec.replicas`; going: pods that were told to go."""

    at_s: float
    event: str
    wanted: int
    ready: int
    going: int
    in_flight: int


def time_line(record: Record) -> list[Row]:
    """Every moment in its order."""
    moments = [
        *record.notes,
        *scaling_moments(record.nodes, record.scalers),
        *pod_moments(record.pods),
        *first_answers(record.calls),
    ]
    return [_row(record, moment) for moment in sorted(moments)]


def _row(record: Record, moment: Moment) -> Row:
    nodes = [seen for seen in record.nodes if seen.at_s <= moment.at_s]
    pods = {name_of(seen): seen for seen in record.pods if seen.at_s <= moment.at_s}
    there = [seen.object for seen in pods.values() if seen.kind != "DELETED"]
    return Row(
        moment.at_s,
        moment.event,
        wanted=nodes[-1].object["spec"]["replicas"] if nodes else 0,
        ready=sum(is_ready(pod) for pod in there),
        going=sum("deletionTimestamp" in pod["metadata"] for pod in there),
        in_flight=sum(call.sent_s <= moment.at_s < call.ended_s for call in record.calls),
    )


def scaling_moments(nodes: Sequence[Seen], scalers: Sequence[Seen]) -> Iterator[Moment]:
    """When another number of instances was wanted, with what the autoscaler had read; and when the pool slept."""
    wanted = reason = None
    for seen in nodes:
        now = seen.object["spec"]["replicas"]
        if wanted is not None and now != wanted:
            yield Moment(seen.at_s, f"**{wanted} → {now} wanted** in AgentNode `spec.replicas`")
        conditions = seen.object.get("status", {}).get("conditions", ())
        told = next((found["reason"] for found in conditions if found["type"] == "Ready"), None)
        if told != reason and told == "ScaledToZero":
            yield Moment(seen.at_s, "the pool sleeps: Ready=True, reason ScaledToZero")
        wanted, reason = now, told
    desired = None
    for seen in scalers:
        now = seen.object.get("status", {}).get("desiredReplicas", 0)
        if desired is not None and now != desired:
            yield Moment(seen.at_s, f"the HPA says desired {now}{_reading(seen.object)}")
        desired = now


def _reading(scaler: Json) -> str:
    """What the autoscaler read last, as its status tells it."""
    for metric in scaler["status"].get("currentMetrics") or ():
        if metric["type"] == "Object":
            value = metric["object"]["current"].get("averageValue", "?")
            return f", having read {metric['object']['metric']['name']} of {value} an instance"
    return ""


def pod_moments(pods: Sequence[Seen]) -> Iterator[Moment]:
    """When each pod was made, ready, told to go, and gone."""
    former: dict[str, Json] = {}
    for seen in pods:
        name, pod, before = name_of(seen), seen.object, former.get(name_of(seen))
        short = short_name(name)
        if before is None:
            yield Moment(seen.at_s, f"pod {short} is made")
        if is_ready(pod) and not (before and is_ready(before)):
            yield Moment(seen.at_s, f"pod {short} is ready")
        if is_going(pod) and not (before and is_going(before)):
            cost = pod["metadata"].get("annotations", {}).get(COST)
            yield Moment(seen.at_s, f"pod {short} is told to go{f' (deletion cost {cost})' if cost else ''}")
        if seen.kind == "DELETED":
            yield Moment(seen.at_s, f"pod {short} is gone")
        former[name] = pod


def first_answers(calls: Iterable[Outcome]) -> Iterator[Moment]:
    """The first answer of each instance."""
    found: set[str] = set()
    for call in sorted(calls, key=lambda call: call.ended_s):
        if call.code == OK and call.instance not in found:
            found.add(call.instance)
            yield Moment(call.ended_s, f"**first answer of {short_name(call.instance)}**")


def told_to_go(pods: Sequence[Seen]) -> dict[str, float]:
    """When each pod was first seen to be told to go."""
    found: dict[str, float] = {}
    for seen in pods:
        if is_going(seen.object):
            found.setdefault(name_of(seen), seen.at_s)
    return found


def had_work(calls: Iterable[Outcome], instance: str, at_s: float) -> bool:
    """Whether a call that the instance answered was under way at that time."""
    return any(call.instance == instance and call.sent_s <= at_s < call.ended_s for call in calls)


def raised_at(nodes: Sequence[Seen], after_s: float) -> float:
    """When more instances were wanted first after that time. Raises ValueError when never."""
    wanted = None
    for seen in nodes:
        now = seen.object["spec"]["replicas"]
        if wanted is not None and now > wanted and seen.at_s >= after_s:
            return seen.at_s
        wanted = now
    raise ValueError("never were more instances wanted")


def is_going(pod: Json) -> bool:
    """Whether it was told to go."""
    return "deletionTimestamp" in pod["metadata"]


def name_of(seen: Seen) -> str:
    """The object's name."""
    name: str = seen.object["metadata"]["name"]
    return name


def short_name(pod: str) -> str:
    """The part of a pod's name that tells it from the others of its pool."""
    return pod.rpartition("-")[2]
