"""GET: what the gateway knows, as JSON. Reads the core, changes nothing."""

from collections import Counter
from typing import Any, Final

from aiohttp import web

from switchboard_gateway.access.rights import bearer
from switchboard_gateway.access.shells import Doorway
from switchboard_gateway.core import Core
from switchboard_gateway.listing import INSTANCE_STATES, Listing, check_state, describe_type
from switchboard_gateway.rest.json_body import invalid, is_text
from switchboard_wire.v1 import gateway_pb2 as api

AGENT_FILTERS: Final = ("type", "capability", "node", "state", "zone")
INSTANCE_FILTERS: Final = ("agent", "node", "state", "zone", "circuit")


class Reads:
    """The handlers. doorway: says who may read."""

    def __init__(self, core: Core, doorway: Doorway) -> None:
        self._core = core
        self._doorway = doorway
        self._listing = Listing(core.table)

    async def agents(self, request: web.Request) -> web.Response:
        """The Agents of one namespace that match every filter given."""
        filters = _read_filters(request, AGENT_FILTERS)
        await self._doorway.may_list(_token(request), self._namespace(request))
        asked = api.ListAgentsRequest(namespace=self._namespace(request), **filters)
        found = self._listing.find(asked, self._core.namespace)
        return web.json_response({"agents": [describe_summary(agent) for agent in found.values()]})

    async def agent(self, request: web.Request) -> web.Response:
        """The Agents of one type with their instances: more than one when they differ in version."""
        found = await self._described(request)
        answer = {
            "namespace": found.namespace,
            "type": found.type,
            "instancesReady": found.instances_ready,
            "agents": [describe_agent(agent) for agent in found.agents],
        }
        return web.json_response(answer)

    async def instances(self, request: web.Request) -> web.Response:
        """The instances that have an Agent of one type, as this gateway sees them, by filter."""
        filters = _read_filters(request, INSTANCE_FILTERS)
        check_state(filters.get("state", ""), INSTANCE_STATES)
        described = await self._described(request)
        found = [instance for agent in described.agents for instance in agent.instances]
        chosen = [one for one in found if all(getattr(one, name) == value for name, value in filters.items())]
        return web.json_response({"instances": [describe_instance(instance) for instance in chosen]})

    async def statistics(self, request: web.Request) -> web.Response:
        """Counts of one namespace, and of this gateway as a whole."""
        namespace = self._namespace(request)
        await self._doorway.may_list(_token(request), namespace)
        return web.json_response(describe_statistics(self._core, namespace))

    async def health(self, _: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    def _namespace(self, request: web.Request) -> str:
        namespace = request.match_info.get("namespace") or self._core.namespace
        if not is_text(namespace):
            raise invalid("the path is not UTF-8")
        return namespace

    async def _described(self, request: web.Request) -> api.AgentTypeDescription:
        namespace, type_ = self._namespace(request), request.match_info["agent"]
        allowed = await self._doorway.may_get(_token(request), namespace, type_)
        return describe_type(self._core, namespace, type_, allowed)


def _token(request: web.Request) -> str:
    return bearer(request.headers.get("Authorization", ""))


def _read_filters(request: web.Request, known: tuple[str, ...]) -> dict[str, str]:
    filters = {name: request.query[name] for name in request.query}
    for name, value in filters.items():
        if name not in known:
            raise invalid(f"the query parameter {name[:80]!a} is not known: {', '.join(known)} are")
        if not is_text(value):
            raise invalid(f"the query parameter {name} is not UTF-8")
    return filters


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
        "state": agent.state,
    }


def describe_agent(agent: api.AgentDescription) -> dict[str, Any]:
    found: dict[str, Any] = {
        "name": agent.name,
        "version": agent.version,
        "description": agent.description,
        "capabilities": [
            {"name": found.name, "version": found.version, "description": found.description}
            for found in agent.capabilities
        ],
        "topics": [{"type": one.topic, "match": "Prefix" if one.prefix else "Exact"} for one in agent.topics],
        "nodes": list(agent.nodes),
        "instancesReady": agent.instances_ready,
        "state": agent.state,
        "weight": agent.weight,
        "strategy": agent.strategy,
        "keyAffinity": agent.key_affinity,
        "timeoutMs": agent.timeout_ms,
        "maxPayloadBytes": agent.max_payload_bytes,
        "attempts": agent.attempts,
        "idempotent": agent.idempotent,
        "allowedCallers": list(agent.allowed_callers),
        "held": {"calls": agent.held_calls, "bytes": agent.held_bytes},
        "instances": [describe_instance(instance) for instance in agent.instances],
    }
    if agent.HasField("hedging"):
        found["hedging"] = {"delayMs": agent.hedging.delay_ms, "attempts": agent.hedging.attempts}
    return found


def describe_instance(instance: api.InstanceDescription) -> dict[str, Any]:
    found: dict[str, Any] = {
        "agent": instance.agent,
        "name": instance.name,
        "node": instance.node,
        "zone": instance.zone,
        "state": instance.state,
        "inFlight": instance.in_flight,
        "concurrency": instance.concurrency,
        "latencyMs": instance.latency_ms,
        "weight": instance.weight,
        "circuit": instance.circuit,
        "agents": list(instance.agents),
    }
    if instance.message:
        found["message"] = instance.message
    if instance.next_attempt_ms:
        found["nextAttemptMs"] = instance.next_attempt_ms
    return found


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
