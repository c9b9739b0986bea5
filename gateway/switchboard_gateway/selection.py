"""From a call's target to the Agent that answers it, or to the error that says what there is."""

from dataclasses import dataclass

from switchboard_gateway.instances import Route, Table
from switchboard_routing.balance import Rng
from switchboard_routing.policy import Strategy
from switchboard_wire.agent_id import MAX_KEY_LENGTH, parse_agent_id
from switchboard_wire.errors import failure
from switchboard_wire.limits import MAX_HOPS, MAX_OPEN_BYTES
from switchboard_wire.v1 import frames_pb2 as pb

# Names in an error that lists what there is
MAX_LISTED = 20
_STRATEGIES = {strategy.value: strategy for strategy in Strategy}


@dataclass(frozen=True, slots=True)
class Selected:
    """route: the Agent. strategy: the Agent's, or the one that the call asked for."""

    route: Route
    key: str
    strategy: Strategy


def select(table: Table, frame: pb.Frame, namespace: str, rng: Rng) -> Selected:
    """Find the Agent of an OPEN. namespace: the caller's. Raises SwitchboardError."""
    opened = frame.open
    target = opened.target
    found = target.namespace or namespace
    key = target.key
    type_ = target.type
    routes = table.by_type.get((found, type_)) if type_ else _by_capability(table, target, found)
    if routes is None:
        raise unknown_type(table, found, type_)
    route = routes[0] if len(routes) == 1 else _share(routes, rng)
    _check(frame, opened, key, route)
    strategy = route.policy.strategy
    if opened.strategy:
        strategy = _named(opened.strategy)
    return Selected(route, key, strategy)


def _check(frame: pb.Frame, opened: pb.Open, key: str, route: Route) -> None:
    if opened.hops >= MAX_HOPS:
        raise failure(pb.ROUTING_ERROR, f"the call passed {opened.hops} streams: agents call each other in a loop")
    size = len(frame.data)
    limit = route.policy.max_payload_bytes
    if size > limit:
        raise too_large(limit, route.policy.name)
    if len(key) > MAX_KEY_LENGTH:
        raise failure(pb.INVALID_AGENT_ID, f"the key is over {MAX_KEY_LENGTH} characters")
    if opened.headers and opened.ByteSize() > MAX_OPEN_BYTES:
        raise failure(pb.VALIDATION_FAILED, f"headers: over {MAX_OPEN_BYTES} bytes with ids; put data in the payload")


def too_large(limit: int, agent: str) -> Exception:
    """The error of a payload over the Agent's maxPayloadBytes."""
    return failure(pb.PAYLOAD_TOO_LARGE, f"the payload is over {limit} bytes, the maxPayloadBytes of Agent {agent!r}")


def _by_capability(table: Table, target: pb.Target, namespace: str) -> list[Route]:
    name = target.capability
    if target.topic:
        raise failure(pb.VALIDATION_FAILED, "target.topic: publishing is not served here")
    if not name:
        raise failure(pb.INVALID_AGENT_ID, "target: name a type or a capability")
    routes = table.by_capability.get((namespace, name))
    if routes is None:
        known = _listed(table.declared.capabilities(namespace))
        raise failure(
            pb.AGENT_NOT_FOUND, f"no Agent in {namespace!r} has the capability {name[:80]!r}; there is {known}"
        )
    living = [route for route in routes if route.instances]
    return living or routes


def unknown_type(table: Table, namespace: str, type_: str) -> Exception:
    """The error of a type that no Agent has, or that is none."""
    parse_agent_id(type_)
    known = _listed(table.declared.types(namespace))
    return failure(pb.AGENT_NOT_FOUND, f"no Agent of type {type_!r} in namespace {namespace!r}; there is {known}")


def _listed(names: list[str]) -> str:
    if not names:
        return "none"
    return ", ".join(names[:MAX_LISTED]) + (f" and {len(names) - MAX_LISTED} more" if len(names) > MAX_LISTED else "")


def _share(routes: list[Route], rng: Rng) -> Route:
    """Split a type's calls among its Agents of different versions by weight; those that can answer first."""
    able = [route for route in routes if route.instances] or routes
    point = rng() * sum(route.policy.weight for route in able)
    for route in able:
        point -= route.policy.weight
        if point < 0:
            return route
    return able[-1]


def _named(name: str) -> Strategy:
    strategy = _STRATEGIES.get(name)
    if strategy is None:
        raise failure(pb.VALIDATION_FAILED, f"strategy: {name[:40]!r} is none of {', '.join(_STRATEGIES)}")
    return strategy
