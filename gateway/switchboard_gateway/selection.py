"""From a call's target to the Agent that answers it, or to the error that says what there is."""

from switchboard_gateway.faults import too_large
from switchboard_gateway.instances import Instance, Route, Table
from switchboard_routing.balance import Rng
from switchboard_routing.policy import AgentPolicy, Strategy
from switchboard_routing.versions import Version, parse_range, parse_version
from switchboard_wire.agent_id import MAX_KEY_LENGTH, parse_agent_id
from switchboard_wire.errors import SwitchboardError, failure
from switchboard_wire.limits import MAX_HOPS, MAX_OPEN_BYTES
from switchboard_wire.v1 import frames_pb2 as pb

# Names in an error that lists what there is
MAX_LISTED = 20
# The Agents, by namespace and name, that a caller may reach; None: all
Allowed = frozenset[tuple[str, str]] | None
_STRATEGIES = {strategy.value: strategy for strategy in Strategy}


class Selected:
    """route: the Agent. key: what keeps calls together. strategy: the Agent's, or the one that the call asked for.

    only: the instance that the call is for, of a call to all instances. A value; never changed.
    """

    __slots__ = ("key", "only", "route", "strategy")

    def __init__(self, route: Route, key: str, strategy: Strategy, only: Instance | None = None) -> None:
        self.route = route
        self.key = key
        self.strategy = strategy
        self.only = only

    def choose(self, tried: tuple[Instance, ...], now: float) -> Instance | None:
        """An instance that can take the call now and was not tried yet, or None."""
        if self.only is None:
            return self.route.choose(self.strategy, self.key, tried, now)
        return next(iter(self.able(tried, now)), None)

    def able(self, tried: tuple[Instance, ...], now: float) -> list[Instance]:
        """Every instance that could take the call now and was not tried yet."""
        found = self.route.able(self.strategy, self.key if self.only is None else "", tried, now)
        return found if self.only is None else [instance for instance in found if instance is self.only]


def select(table: Table, frame: pb.Frame, namespace: str, rng: Rng, allowed: Allowed = None) -> Selected:
    """Find the Agent of an OPEN, among those allowed. namespace: the caller's. Raises SwitchboardError."""
    opened = frame.open
    target = opened.target
    found = target.namespace or namespace
    type_ = target.type
    routes = table.by_type.get((found, type_)) if type_ else _by_capability(table, target, found)
    if routes is None:
        raise unknown_type(table, found, type_)
    if allowed is not None:
        routes = permitted(routes, allowed)
    route = routes[0] if len(routes) == 1 else share(admitting(routes, opened), rng)
    policy = route.policy
    if policy.callers is not None:
        check_caller(policy, opened)
    key = target.key
    _check(frame, opened, key, route)
    strategy = policy.strategy if not opened.strategy else named_strategy(opened.strategy)
    if strategy is Strategy.CONSISTENT_HASH and policy.hash_header:
        key = _header(opened, policy.hash_header) or key
    return Selected(route, key, strategy)


def permitted(routes: list[Route], allowed: frozenset[tuple[str, str]]) -> list[Route]:
    """Those of some Agents that are allowed. Raises SwitchboardError PERMISSION_DENIED when none is."""
    found = [route for route in routes if (route.policy.namespace, route.policy.name) in allowed]
    if not found:
        raise failure(pb.PERMISSION_DENIED, "none of the Agents that could take the call may be called")
    return found


def admitting(routes: list[Route], opened: pb.Open) -> list[Route]:
    """Those of some Agents that take calls of this caller; all of them, to be refused by one, when none does."""
    if not any(route.policy.callers for route in routes):
        return routes
    principal = opened.principal
    return [route for route in routes if route.policy.admits(principal)] or routes


def check_caller(policy: AgentPolicy, opened: pb.Open) -> None:
    """Raise SwitchboardError PERMISSION_DENIED unless an Agent takes calls of this caller."""
    principal = opened.principal
    if policy.admits(principal):
        return
    agent = f"Agent {policy.name!r} in namespace {policy.namespace!r}"
    if principal:
        raise failure(pb.PERMISSION_DENIED, f"{principal} may not call {agent}: its spec.allowedCallers has no such id")
    raise failure(
        pb.PERMISSION_DENIED,
        f"nothing proves who calls {agent}, and its spec.allowedCallers asks for it: set gateway.auth to kubernetes "
        "and show a token, or, where an agent's pod calls, tls.enabled",
    )


def _header(opened: pb.Open, wanted: str) -> str:
    """A header's value, whatever the case of its name; empty when it is missing."""
    name = wanted.lower()
    return next((value for found, value in opened.headers.items() if found.lower() == name), "")


def _check(frame: pb.Frame, opened: pb.Open, key: str, route: Route) -> None:
    if opened.hops >= MAX_HOPS or len(key) > MAX_KEY_LENGTH or opened.headers:
        check_open(opened, key)
    limit = route.policy.max_payload_bytes
    if len(frame.data) > limit:
        raise SwitchboardError(too_large(limit, route.policy.name))


def check_open(opened: pb.Open, key: str) -> None:
    """Raise SwitchboardError for a call in a loop, and for keys and headers that are too long."""
    if opened.hops >= MAX_HOPS:
        raise failure(pb.ROUTING_ERROR, f"the call passed {opened.hops} streams: agents call each other in a loop")
    if len(key) > MAX_KEY_LENGTH:
        raise failure(pb.INVALID_AGENT_ID, f"the key is over {MAX_KEY_LENGTH} characters")
    if opened.headers and opened.ByteSize() > MAX_OPEN_BYTES:
        raise failure(pb.VALIDATION_FAILED, f"headers: over {MAX_OPEN_BYTES} bytes with ids; put data in the payload")


def _by_capability(table: Table, target: pb.Target, namespace: str) -> list[Route]:
    name = target.capability
    if not name:
        raise failure(pb.INVALID_AGENT_ID, "target: name a type, a capability or a topic")
    routes = table.by_capability.get((namespace, name))
    if routes is None:
        known = _listed(table.declared.capabilities(namespace))
        raise failure(
            pb.AGENT_NOT_FOUND, f"no Agent in {namespace!r} has the capability {name[:80]!r}; there is {known}"
        )
    if target.version_range:
        routes = _in_range(routes, name, target.version_range)
    return routes


def _in_range(routes: list[Route], name: str, text: str) -> list[Route]:
    try:
        wanted = parse_range(text)
    except ValueError as error:
        raise failure(pb.VALIDATION_FAILED, f"target.version_range: {error}") from None
    found = [route for route in routes if any(version in wanted for version in _versions(route, name))]
    if not found:
        there = _listed(sorted({text for route in routes for text in _version_texts(route, name)}))
        raise failure(pb.AGENT_NOT_FOUND, f"no Agent has the capability {name!r} in a version {text}; there is {there}")
    return found


def _versions(route: Route, capability: str) -> list[Version]:
    return [found for text in _version_texts(route, capability) if (found := parse_version(text)) is not None]


def _version_texts(route: Route, capability: str) -> list[str]:
    return [found.version or "0.0.0" for found in route.policy.capabilities if found.name == capability]


def unknown_type(table: Table, namespace: str, type_: str) -> Exception:
    """The error of a type that no Agent has, or that is none."""
    parse_agent_id(type_)
    known = _listed(table.declared.types(namespace))
    return failure(pb.AGENT_NOT_FOUND, f"no Agent of type {type_!r} in namespace {namespace!r}; there is {known}")


def _listed(names: list[str]) -> str:
    if not names:
        return "none"
    return ", ".join(names[:MAX_LISTED]) + (f" and {len(names) - MAX_LISTED} more" if len(names) > MAX_LISTED else "")


def share(routes: list[Route], rng: Rng) -> Route:
    """Split a type's calls among its Agents of different versions by weight; those that can answer first."""
    wanted = [route for route in routes if route.policy.weight] or routes
    able = [route for route in wanted if route.instances] or wanted
    total = sum([route.policy.weight for route in able])
    if total <= 0:
        return able[int(rng() * len(able))]
    point = rng() * total
    for route in able:
        point -= route.policy.weight
        if point < 0:
            return route
    return able[-1]


def named_strategy(name: str) -> Strategy:
    """The strategy that a call asks for. Raises SwitchboardError."""
    strategy = _STRATEGIES.get(name)
    if strategy is None:
        raise failure(pb.VALIDATION_FAILED, f"strategy: {name[:40]!r} is none of {', '.join(_STRATEGIES)}")
    return strategy
