"""What the gateway knows, for people and programs: Agents and their instances. Reads the core, changes nothing."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from switchboard_gateway.core import Core
from switchboard_gateway.instances import ATTACHED, Instance, Route, Table, is_bound
from switchboard_gateway.selection import Allowed, permitted, unknown_type
from switchboard_routing.breaker import State
from switchboard_routing.policy import HedgingPolicy
from switchboard_wire.errors import failure
from switchboard_wire.v1 import frames_pb2 as pb
from switchboard_wire.v1 import gateway_pb2 as api

READY: Final = "Ready"
LOADING: Final = "Loading"
FAILED: Final = "Failed"
DRAINING: Final = "Draining"
OFFLINE: Final = "Offline"
# The first that one of an Agent's instances is in is the Agent's
AGENT_STATES: Final = (READY, LOADING, FAILED, DRAINING, OFFLINE)
INSTANCE_STATES: Final = (READY, LOADING, FAILED, DRAINING)
_HOSTED: Final[Mapping[int, str]] = {
    pb.HOSTED_LOADING: LOADING,
    pb.HOSTED_READY: READY,
    pb.HOSTED_FAILED: FAILED,
}

AgentKey = tuple[str, str]  # namespace, name


@dataclass(frozen=True, slots=True)
class Placed:
    """An instance that has an Agent, whatever the state of it there. message: why it failed."""

    instance: Instance
    state: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class Listed:
    """One Agent of a list, with what filters ask for beside its summary."""

    summary: api.AgentSummary
    nodes: frozenset[str]
    zones: frozenset[str]


class Listing:
    """The list of every Agent, made anew only when something in it has changed: any number of readers share it."""

    __slots__ = ("_listed", "_table", "_version")

    def __init__(self, table: Table) -> None:
        self._table = table
        self._version = -1
        self._listed: dict[AgentKey, Listed] = {}

    def find(self, request: api.ListAgentsRequest, default_namespace: str) -> dict[AgentKey, api.AgentSummary]:
        """The Agents of one namespace that match every filter given, by name. Raises SwitchboardError."""
        check_state(request.state, AGENT_STATES)
        namespace = request.namespace or default_namespace
        return {
            key: listed.summary
            for key, listed in self._current().items()
            if key[0] == namespace and _matches(listed, request)
        }

    def _current(self) -> Mapping[AgentKey, Listed]:
        version = self._table.changes.version
        if version != self._version:
            placed = place_all(self._table)
            routes = sorted(self._table.routes.items())
            self._listed = {key: _list(route, placed.get(key, ())) for key, route in routes}
            self._version = version
        return self._listed


def check_state(state: str, known: tuple[str, ...]) -> None:
    """Raise SwitchboardError VALIDATION_FAILED for a state that there is none of. Empty: not asked for."""
    if state and state not in known:
        raise failure(pb.VALIDATION_FAILED, f"state: {state[:40]!a} is none of {', '.join(known)}")


def _list(route: Route, placed: Iterable[Placed]) -> Listed:
    policy = route.policy
    nodes = frozenset(instance.node for instance in route.instances)
    summary = api.AgentSummary(
        namespace=policy.namespace,
        name=policy.name,
        type=policy.type,
        version=policy.version,
        description=policy.description,
        capabilities=[capability.name for capability in policy.capabilities],
        nodes=sorted((policy.nodes or nodes) - ATTACHED),
        instances_ready=len(route.instances),
        strategy=policy.strategy.value,
        state=state_of(route, placed),
    )
    zones = frozenset(found.instance.zone for found in placed)
    return Listed(summary, nodes | (policy.nodes or frozenset()), zones)


def _matches(listed: Listed, request: api.ListAgentsRequest) -> bool:
    summary = listed.summary
    return (
        (not request.type or summary.type == request.type)
        and (not request.capability or request.capability in summary.capabilities)
        and (not request.node or request.node in listed.nodes)
        and (not request.state or summary.state == request.state)
        and (not request.zone or request.zone in listed.zones)
    )


def state_of(route: Route, placed: Iterable[Placed]) -> str:
    """Of an Agent: the best of its instances'."""
    if route.instances:
        return READY
    found = {one.state for one in placed} - {READY}
    return next((state for state in AGENT_STATES if state in found), OFFLINE)


def place_all(table: Table) -> dict[AgentKey, list[Placed]]:
    """Every Agent with the instances that have it, by the names of these."""
    found: dict[AgentKey, list[Placed]] = defaultdict(list)
    for instance in sorted(table.instances.values(), key=lambda instance: instance.name):
        for agent in _hosted(instance):
            key = (instance.namespace, agent.name)
            policy = table.policies.get(key)
            if policy is not None and is_bound(policy, instance):
                state = DRAINING if instance.draining else _HOSTED.get(agent.state, LOADING)
                found[key].append(Placed(instance, state, agent.message))
    return found


def _hosted(instance: Instance) -> Iterator[pb.HostedAgent]:
    """What an instance says of its agents; those that are ready count even when it gave no details of them."""
    told = {agent.name for agent in instance.all_hosted}
    yield from instance.all_hosted
    for name in sorted(instance.hosted - told):
        yield pb.HostedAgent(name=name, state=pb.HOSTED_READY)


def describe_type(core: Core, namespace: str, type_: str, allowed: Allowed = None) -> api.AgentTypeDescription:
    """The Agents of one type, with every instance that has one of them. Raises SwitchboardError AGENT_NOT_FOUND."""
    routes = core.table.by_type.get((namespace, type_))
    if not routes:
        raise unknown_type(core.table, namespace, type_)
    if allowed is not None:
        routes = permitted(routes, allowed)
    placed = place_all(core.table)
    agents = [_describe_agent(core, route, placed.get((namespace, route.policy.name), ())) for route in routes]
    ready = {id(instance) for route in routes for instance in route.instances}
    return api.AgentTypeDescription(namespace=namespace, type=type_, instances_ready=len(ready), agents=agents)


def _describe_agent(core: Core, route: Route, placed: Iterable[Placed]) -> api.AgentDescription:
    policy = route.policy
    held_calls, held_bytes = core.held.waiting(route)
    now = core.now()
    return api.AgentDescription(
        name=policy.name,
        version=policy.version,
        description=policy.description,
        capabilities=[
            api.CapabilityDescription(name=found.name, version=found.version, description=found.description)
            for found in policy.capabilities
        ],
        nodes=sorted((policy.nodes or {instance.node for instance in route.instances}) - ATTACHED),
        instances_ready=len(route.instances),
        state=state_of(route, placed),
        weight=policy.weight,
        strategy=policy.strategy.value,
        key_affinity=policy.key_affinity.value,
        timeout_ms=int(policy.timeout_s * 1000),
        max_payload_bytes=policy.max_payload_bytes,
        idempotent=policy.retries.idempotent,
        held_calls=held_calls,
        held_bytes=held_bytes,
        topics=[pb.Subscription(topic=found.topic, prefix=found.prefix) for found in policy.topics],
        hedging=_describe_hedging(policy.hedging),
        attempts=policy.retries.attempts,
        allowed_callers=policy.allowed_callers,
        instances=[_describe_instance(route, found, now) for found in placed],
    )


def _describe_hedging(hedging: HedgingPolicy | None) -> api.HedgingDescription | None:
    if hedging is None:
        return None
    return api.HedgingDescription(delay_ms=int(hedging.delay_s * 1000), attempts=hedging.attempts)


def _describe_instance(route: Route, placed: Placed, now: float) -> api.InstanceDescription:
    instance = placed.instance
    breaker = route.breakers.get(instance)
    circuit = State.CLOSED if breaker is None else breaker.state
    wait_s = breaker.until - now if breaker is not None and circuit is State.OPEN else 0.0
    return api.InstanceDescription(
        agent=route.policy.name,
        name=instance.name,
        node=instance.node,
        zone=instance.zone,
        state=placed.state,
        message=placed.message,
        in_flight=instance.in_flight,
        concurrency=instance.concurrency,
        latency_ms=round(instance.latency_s * 1000, 3),
        weight=round(instance.weight, 3),
        circuit=circuit.value,
        next_attempt_ms=max(0, int(wait_s * 1000)),
        agents=sorted(instance.hosted),
    )
