"""The narrow interface to a Kubernetes API server: plain dicts in and out, asyncio only.

Used by the operator and the gateway; no other module of the project imports the kubernetes package. Nothing here knows
what the objects mean; no pydantic models, no kopf.

    async with connect() as kube:                       # in a pod: its ServiceAccount; else the kubeconfig
        pod = await kube.get(PODS, "a", "default")      # raises NotFound, Forbidden, Unavailable, …: all are ApiError
        async for event in kube.watch(AGENTS):          # never ends by itself; cancel it
            match event.type:
                case EventType.APPLIED: ...             # event.object is new or has changed
                case EventType.DELETED: ...             # event.object is gone; after a gap only its metadata is known
                case EventType.SYNCED: ...              # all that there is has been told (every listing)

`Kube` is the protocol, so that tests can use `switchboard_kube.testing.FakeKube` instead of a server.
"""

from switchboard_kube.errors import (
    NAMESPACE_TERMINATING,
    ApiError,
    Conflict,
    Forbidden,
    Gone,
    Invalid,
    NotFound,
    Unavailable,
)
from switchboard_kube.interface import Event, EventType, Json, Kube, Listing, Resource, Selector
from switchboard_kube.login import connect
from switchboard_kube.resources import (
    AGENT_NODES,
    AGENTS,
    API_SERVICES,
    CONFIG_MAPS,
    DEPLOYMENTS,
    DISRUPTION_BUDGETS,
    ENDPOINT_SLICES,
    EVENTS,
    HORIZONTAL_AUTOSCALERS,
    LEASES,
    NAMESPACES,
    PODS,
    SECRETS,
    SERVICE_ACCOUNTS,
    SERVICES,
    SUBJECT_ACCESS_REVIEWS,
    TOKEN_REVIEWS,
)

__all__ = [
    "connect",
    "Kube",
    "Resource",
    "Selector",
    "Listing",
    "Event",
    "EventType",
    "Json",
    "ApiError",
    "NotFound",
    "Conflict",
    "Invalid",
    "Forbidden",
    "Gone",
    "Unavailable",
    "NAMESPACE_TERMINATING",
    "AGENTS",
    "AGENT_NODES",
    "CONFIG_MAPS",
    "DEPLOYMENTS",
    "DISRUPTION_BUDGETS",
    "ENDPOINT_SLICES",
    "EVENTS",
    "HORIZONTAL_AUTOSCALERS",
    "LEASES",
    "NAMESPACES",
    "PODS",
    "SECRETS",
    "SERVICES",
    "SERVICE_ACCOUNTS",
    "SUBJECT_ACCESS_REVIEWS",
    "TOKEN_REVIEWS",
    "API_SERVICES",
]
