"""What the gateway knows, for people and programs: agents, instances, statistics. Reads the core, changes nothing."""

from switchboard_gateway.core import Core
from switchboard_gateway.instances import Instance, Route
from switchboard_wire.v1 import gateway_pb2 as api


def list_agents(core: Core, request: api.ListAgentsRequest) -> api.ListAgentsResponse:
    """The Agents of one namespace that match every filter given."""
    namespace = request.namespace or core.namespace
    found = [
        route
        for (place, _), route in sorted(core.table.routes.items())
        if place == namespace and _matches(route, request)
    ]
    return api.ListAgentsResponse(agents=[summarize(route) for route in found])


def _matches(route: Route, request: api.ListAgentsRequest) -> bool:
    policy = route.policy
    nodes = {instance.node for instance in route.instances} | (policy.nodes or frozenset())
    return (
        (not request.type or policy.type == request.type)
        and (not request.capability or any(c.name == request.capability for c in policy.capabilities))
        and (not request.node or request.node in nodes)
    )


def summarize(route: Route) -> api.AgentSummary:
    policy = route.policy
    return api.AgentSummary(
        namespace=policy.namespace,
        name=policy.name,
        type=policy.type,
        version=policy.version,
        description=policy.description,
        capabilities=[capability.name for capability in policy.capabilities],
        nodes=sorted(policy.nodes or {instance.node for instance in route.instances}),
        instances_ready=len(route.instances),
        strategy=policy.strategy.value,
    )


def instances_of(core: Core, namespace: str, type_: str) -> list[Instance]:
    """Every instance that can answer for an Agent of the type, by name."""
    routes = core.table.by_type.get((namespace, type_), [])
    found = {id(instance): instance for route in routes for instance in route.instances}
    return sorted(found.values(), key=lambda instance: instance.name)
