"""The instances of an AgentNode, as status tells them: pods, what their sidecars said, what was told before. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from switchboard_operator.load import Load
from switchboard_operator.objects import Pod
from switchboard_operator.registry import HostedState, Registry, is_shown, state_of
from switchboard_operator.snapshot import NodeSnapshot

# An object of etcd holds 1.5 MiB; so many instances with all that they say of their agents fit
MAX_INSTANCES: Final = 200
MAX_AGENTS: Final = 64
# All instances together list so many agents: each change of status is written, stored and told to watchers as a whole
LISTED_AGENTS: Final = 1000
MAX_AGENT_MESSAGE: Final = 256
# All messages of failed agents together
MESSAGE_BUDGET: Final = 128 * 1024

# The unhealthy first
_ORDER: Final = ("Down", "Degraded", "Draining", "Starting", "Up")


@dataclass(frozen=True, slots=True)
class Instance:
    """One pod of the pool with its state. is_cut: it hosts more agents than these, and has not said which yet."""

    pod: Pod
    zone: str
    state: str
    activity: str
    version: str
    agents: tuple[HostedState, ...]
    is_shown: bool = True
    load: Load | None = None
    is_cut: bool = False


def observe_instances(
    pods: Iterable[Pod], zones: Mapping[str, str], told: Mapping[str, Any], registry: Registry, now: float
) -> list[Instance]:
    """The instances of one AgentNode, the unhealthy and the newest first. `told`: its present status."""
    before = {item["name"]: item for item in told.get("instances") or ()}
    living = [pod for pod in pods if not pod.finished]
    found = [_observe(pod, zones.get(pod.uid, pod.zone), before.get(pod.name), registry, now) for pod in living]
    newest = sorted(found, key=lambda instance: (instance.pod.created, instance.pod.name), reverse=True)
    return sorted(newest, key=lambda instance: _ORDER.index(instance.state))


def instances_of(snapshot: NodeSnapshot, registry: Registry, now: float) -> list[Instance]:
    """The instances of the snapshot's AgentNode."""
    return observe_instances(snapshot.pods, snapshot.zones, snapshot.node.status, registry, now)


def count_instances(instances: Iterable[Instance]) -> dict[str, int]:
    """How many are in each state."""
    counts = {state.lower(): 0 for state in reversed(_ORDER)}
    for instance in instances:
        counts[instance.state.lower()] += 1
    return counts


def activity_of(instances: Iterable[Instance]) -> str:
    """Of the whole pool: Saturated when every instance that serves is, Busy when any has work, else Idle."""
    seen = {instance.activity for instance in instances if instance.state in ("Up", "Degraded")}
    if seen == {"Saturated"}:
        return "Saturated"
    return "Busy" if seen - {"Idle"} else "Idle"


def tell_instances(instances: Sequence[Instance], told: Mapping[str, Any], now: str) -> list[dict[str, Any]]:
    """The bounded list for status; `since` stays as long as the state does."""
    before = {item["name"]: item for item in told.get("instances") or ()}
    shown = [instance for instance in instances if instance.is_shown][:MAX_INSTANCES]
    share = min(MAX_AGENTS, LISTED_AGENTS // max(1, len(shown)))
    budget = MESSAGE_BUDGET
    listed = []
    for instance in shown:
        agents = []
        # By name but for those that failed: what is listed does not change with each Agent that comes
        for agent in _failed_first(instance.agents)[:share]:
            message = agent.message[:MAX_AGENT_MESSAGE] if agent.state == "Failed" else ""
            message = message if len(message) <= budget else ""
            budget -= len(message)
            agents.append({"name": agent.name, "state": agent.state, **({"message": message} if message else {})})
        is_cut = instance.is_cut or len(instance.agents) > share
        listed.append(_tell(instance, agents, before.get(instance.pod.name), now) | {"truncated": is_cut})
    return listed


def _failed_first(agents: tuple[HostedState, ...]) -> Sequence[HostedState]:
    failed = [agent for agent in agents if agent.state == "Failed"]
    return [*failed, *(agent for agent in agents if agent.state != "Failed")] if failed else agents


def _tell(
    instance: Instance, agents: list[dict[str, Any]], before: Mapping[str, Any] | None, now: str
) -> dict[str, Any]:
    pod = instance.pod
    same = before is not None and before.get("podUID") == pod.uid and before["state"] == instance.state
    optional = {"address": pod.address, "zone": instance.zone, "nodeName": pod.node_name, "version": instance.version}
    return {
        "name": pod.name,
        "podUID": pod.uid,
        "state": instance.state,
        "since": before["since"] if same and before is not None else now,
        "activity": instance.activity,
        "agents": agents,
        **{name: value for name, value in optional.items() if value},
    }


def _observe(pod: Pod, zone: str, before: Mapping[str, Any] | None, registry: Registry, now: float) -> Instance:
    record = registry.get(pod.uid)
    told = before if before is not None and before.get("podUID") == pod.uid else None
    if record is None:
        return _unheard(pod, zone, told, registry, now)
    state = state_of(record, registry.patience(record.pool), now)
    if state in ("Degraded", "Down") and registry.is_doubtful(now) and told is not None:
        state = told["state"]
    if pod.deleting and state != "Down":
        state = "Draining"
    shown = state != "Down" or is_shown(record, registry.patience(record.pool), now)
    return Instance(pod, zone, state, record.activity, record.version, record.agents, shown, record.load)


def _unheard(pod: Pod, zone: str, told: Mapping[str, Any] | None, registry: Registry, now: float) -> Instance:
    """A pod whose sidecar has not registered with this process: new, or known from before and given some time."""
    if told is None:
        return Instance(pod, zone, "Draining" if pod.deleting else "Starting", "Idle", "", ())
    agents = tuple(HostedState(a["name"], a["state"], a.get("message", "")) for a in told.get("agents") or ())
    waits = registry.in_grace(now) or told["state"] in ("Starting", "Draining")
    state = "Draining" if pod.deleting else told["state"] if waits else "Down"
    known = told.get("activity", "Idle"), told.get("version", "")
    return Instance(pod, zone, state, *known, agents, is_cut=told.get("truncated", False))
