"""GET: what the gateway knows, as JSON. Reads the core, changes nothing."""

from collections import Counter
from typing import Any, Final

from aiohttp import web

from switchboard_gateway.core import Core
from switchboard_gateway.instances import Instance, Route
from switchboard_gateway.listing import instances_of, list_agents
from switchboard_gateway.rest.json_body import invalid, is_text
from switchboard_gateway.selection import unknown_type
from switchboard_wire.v1 import gateway_pb2 as api

_FILTERS: Final = ("type", "capability", "node")


class Reads:
    """The handlers."""

    def __init__(self, core: Core) -> None:
        self._core = core

    async def agents(self, request: web.Request) -> web.Response:
        """The Agents of one namespace that match every filter given."""
        filters = {name: request.query[name] for name in request.query}
        for name, value in filters.items():
            if name not in _FILTERS:
                raise invalid(f"the query parameter {name[:80]!a} is not known: {', '.join(_FILTERS)} are")
            if not is_text(value):
                raise invalid(f"the query parameter {name} is not UTF-8")
        found = list_agents(self._core, api.ListAgentsRequest(namespace=self._namespace(request), **filters))
        return web.json_response({"agents": [describe_summary(agent) for agent in found.agents]})

    async def agent(self, request: web.Request) -> web.Response:
        """The Agents of one type: more than one when they differ in version."""
        namespace, type_, routes = self._routes(request)
        answer = {
            "namespace": namespace,
            "type": type_,
            "instancesReady": len(instances_of(self._core, namespace, type_)),
            "agents": [describe_route(route) for route in routes],
        }
        return web.json_response(answer)

    async def instances(self, request: web.Request) -> web.Response:
        """The instances that can answer for one type, as this gateway sees them."""
        namespace, type_, _ = self._routes(request)
        found = instances_of(self._core, namespace, type_)
        return web.json_response({"instances": [describe_instance(instance) for instance in found]})

    async def statistics(self, request: web.Request) -> web.Response:
        """Counts of one namespace, and of this gateway as a whole."""
        return web.json_response(describe_statistics(self._core, self._namespace(request)))

    async def health(self, _: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    def _namespace(self, request: web.Request) -> str:
        namespace = request.match_info.get("namespace") or self._core.namespace
        if not is_text(namespace):
            raise invalid("the path is not UTF-8")
        return namespace

    def _routes(self, request: web.Request) -> tuple[str, str, list[Route]]:
        namespace, type_ = self._namespace(request), request.match_info["agent"]
        routes = self._core.table.by_type.get((namespace, type_))
        if not routes:
            raise unknown_type(self._core.table, namespace, type_)
        return namespace, type_, routes


def describe_summary(agent: api.AgentSummary) -> dict[str, Any]:
    return {
        "namespace": agent.namespace,
        "name": agent.name,
        "type": agent.type,
        "version": agent.version,
        "description": agent.description,
        "capabilities": list(agent.capabilities),
        "nodes": list(agent.nodes),
        "instancesReady": agent.instances_ready,
        "strategy": agent.strategy,
    }


def describe_route(route: Route) -> dict[str, Any]:
    policy = route.policy
    return {
        "name": policy.name,
        "version": policy.version,
        "description": policy.description,
        "capabilities": [
            {"name": found.name, "version": found.version, "description": found.description}
            for found in policy.capabilities
        ],
        "nodes": sorted(policy.nodes or {instance.node for instance in route.instances}),
        "instancesReady": len(route.instances),
        "weight": policy.weight,
        "strategy": policy.strategy.value,
        "keyAffinity": policy.key_affinity.value,
        "timeoutMs": int(policy.timeout_s * 1000),
        "maxPayloadBytes": policy.max_payload_bytes,
        "idempotent": policy.retries.idempotent,
    }


def describe_instance(instance: Instance) -> dict[str, Any]:
    return {
        "name": instance.name,
        "node": instance.node,
        "zone": instance.zone,
        "inFlight": instance.in_flight,
        "latencyMs": round(instance.latency_s * 1000, 3),
        "agents": sorted(instance.hosted),
    }


def describe_statistics(core: Core, namespace: str) -> dict[str, Any]:
    """calls: those that ended since this gateway started, by error code."""
    calls: Counter[str] = Counter()
    for (place, _, code), count in core.metrics.calls.values.items():
        if place == namespace:
            calls[code] += int(count)
    return {
        "namespace": namespace,
        "agents": sum(place == namespace for place, _ in core.table.routes),
        "instances": sum(instance.namespace == namespace for instance in core.table.instances.values()),
        "calls": dict(sorted(calls.items())),
        "gateway": {
            "sessions": len(core.sessions),
            "held": len(core.held),
            "links": len(core.table.instances),
        },
    }
