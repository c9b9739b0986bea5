"""The description of the REST API (OpenAPI 3.1), served at /openapi.json."""

from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

from switchboard_gateway.rest.cloud_events import STRUCTURED
from switchboard_gateway.rest.openapi_schemas import SCHEMAS
from switchboard_gateway.rest.problems import PROBLEM
from switchboard_gateway.rest.reads import AGENT_FILTERS, INSTANCE_FILTERS
from switchboard_wire.errors import ERROR_TABLE, name_of

Node = dict[str, Any]

_TEXT: Final = {"type": "string"}
_TOKEN: Final = {
    "type": "http",
    "scheme": "bearer",
    "bearerFormat": "JWT",
    "description": "A token of the cluster for the audience of the gateway; its holder needs the right to the Agent.",
}
# Statuses that come from HTTP itself
_HTTP_STATUSES: Final = {405: "This method is not for this path."}


def build_openapi() -> Node:
    """The whole document."""
    paths: Node = {}
    for prefix, inside in (("/api/v1", []), ("/api/v1/namespaces/{namespace}", [_ref("Namespace")])):
        paths |= {prefix + path: {**item, "parameters": inside + item.get("parameters", [])} for path, item in _paths()}
    paths["/health"] = {"get": _read("Whether the gateway answers", "Health", "health")}
    paths["/ws"] = {
        "get": {
            "summary": "A session with many calls as a WebSocket; docs/reference/websocket.md has its messages",
            "operationId": "openSocket",
            "responses": {"101": {"description": "The socket is open."}, "default": _response()},
        }
    }
    document = {"description": "OpenAPI 3.1.", "content": {"application/json": {"schema": {"type": "object"}}}}
    paths["/openapi.json"] = {
        "get": {"summary": "This document", "operationId": "openapi", "responses": {"200": document}}
    }
    for path in ("/health", "/openapi.json"):
        paths[path]["get"]["security"] = []
    _make_operation_ids_unique(paths)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Switchboard gateway",
            "version": _version(),
            "description": "Reach any agent: by type, by type and key, by capability, or by topic.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        # Where `gateway.auth` is kubernetes; otherwise no token is asked for, which the empty alternative says
        "security": [{"token": []}, {}],
        "components": {
            "schemas": SCHEMAS,
            "parameters": _PARAMETERS,
            "responses": {"Problem": _problem()},
            "securitySchemes": {"token": _TOKEN},
        },
    }


def _paths() -> list[tuple[str, Node]]:
    """The paths that exist with and without a namespace, without their prefix."""
    agent, capability, topic = [_ref("Agent")], [_ref("Capability")], [_ref("Topic")]
    listing = _read("Agents", "AgentList", "listAgents") | {
        "parameters": [_query(name, f"Only Agents with this {name}.") for name in AGENT_FILTERS]
    }
    instances = _read("Who can answer for a type", "InstanceList", "listInstances") | {
        "parameters": [_query(name, f"Only instances with this {name}.") for name in INSTANCE_FILTERS]
    }
    return [
        ("/agents", {"get": listing}),
        ("/agents/{agent}", {"get": _read("The Agents of one type", "AgentType", "getAgent"), "parameters": agent}),
        ("/agents/{agent}/instances", {"get": instances, "parameters": agent}),
        (
            "/agents/{agent}/execute",
            {"post": _execute("Call an agent", "executeAgent", ("Key", "Method", "Instances")), "parameters": agent},
        ),
        (
            "/capabilities/{capability}/execute",
            {
                "post": _execute(
                    "Call an agent that has a capability", "executeCapability", ("Key", "Method", "Version")
                ),
                "parameters": capability,
            },
        ),
        ("/topics/{topic}/publish", {"post": _publish(), "parameters": topic}),
        ("/statistics", {"get": _read("Counts, as this gateway sees them", "Statistics", "getStatistics")}),
    ]


def _read(summary: str, schema: str, operation: str) -> Node:
    answer = {"description": summary, "content": {"application/json": {"schema": _schema(schema)}}}
    return {"summary": summary, "operationId": operation, "responses": {"200": answer, "default": _response()}}


def _execute(summary: str, operation: str, query: tuple[str, ...]) -> Node:
    payload = {"schema": {}, "example": "any bytes"}
    answer = {
        "description": "The answer: JSON for a JSON request, an event stream when it is accepted, else the payload.",
        "headers": {
            name: {"schema": _TEXT, "description": text}
            for name, text in (
                ("Switchboard-Message-Id", "Id of the message; of raw answers."),
                ("Switchboard-Agent", "Name of the Agent that answered; of raw answers."),
                ("Switchboard-Instance", "Name of the instance that answered; of raw answers in one piece."),
                ("Switchboard-Processing-Ms", "Time in the handler; of raw answers in one piece."),
            )
        },
        "content": {
            "application/json": {"schema": {"anyOf": [_schema("Answer"), _schema("Results")]}},
            "text/event-stream": {"schema": {"type": "string", "description": "Events message, bytes, done, error."}},
            "*/*": payload,
        },
    }
    return {
        "summary": summary,
        "operationId": operation,
        "parameters": [_ref(name) for name in (*query, *_HEADER_PARAMETERS)],
        "requestBody": {"content": {"application/json": {"schema": _schema("Execution")}, "*/*": payload}},
        "responses": {"200": answer} | _errors(),
    }


def _publish() -> Node:
    payload = {"schema": {}, "example": "any bytes"}
    body = {
        "application/json": {"schema": _schema("Execution")},
        STRUCTURED: {"schema": _schema("CloudEvent")},
        "*/*": payload,
    }
    answer = {"description": "What came of each.", "content": {"application/json": {"schema": _schema("Results")}}}
    return {
        "summary": "Send a copy to every agent that is subscribed to a topic",
        "operationId": "publish",
        "parameters": [_ref(name) for name in ("Source", *_HEADER_PARAMETERS)],
        "requestBody": {"content": body},
        "responses": {"200": answer} | _errors(),
    }


def _errors() -> Node:
    statuses: dict[int, list[str]] = {}
    for code, row in ERROR_TABLE.items():
        statuses.setdefault(row.http, []).append(name_of(code))
    errors = {
        str(status): _response() | {"description": ", ".join(codes)} for status, codes in sorted(statuses.items())
    }
    return errors | {str(status): _response() | {"description": text} for status, text in _HTTP_STATUSES.items()}


def _problem() -> Node:
    return {
        "description": "An error (RFC 9457).",
        "headers": {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds; when that is known."}},
        "content": {PROBLEM: {"schema": _schema("Problem")}},
    }


def _response() -> Node:
    return {"$ref": "#/components/responses/Problem"}


def _ref(parameter: str) -> Node:
    return {"$ref": f"#/components/parameters/{parameter}"}


def _schema(name: str) -> Node:
    return {"$ref": f"#/components/schemas/{name}"}


def _path(name: str, text: str) -> Node:
    return {"name": name, "in": "path", "required": True, "schema": _TEXT, "description": text}


def _query(name: str, text: str) -> Node:
    return {"name": name, "in": "query", "schema": _TEXT, "description": text}


def _header(name: str, text: str, schema: Node = _TEXT) -> Node:
    return {"name": name, "in": "header", "schema": schema, "description": text}


_PARAMETERS: Final[Node] = {
    "Namespace": _path("namespace", "Namespace of the Agents. Without it: the gateway's default namespace."),
    "Agent": _path("agent", "Type of the agent."),
    "Capability": _path("capability", "Name of a capability."),
    "Method": _query("method", "One of several that the agent offers."),
    "Key": _query("key", "One conversation, document or user; may keep the call on one instance."),
    "Topic": _path("topic", "Type of the topic, to which Agents subscribe."),
    "Source": _query("source", "Where the event comes from: the key under which each subscriber gets its copy."),
    "Version": _query("version", "Range of versions of the capability, for example >=1.2,<2."),
    "Instances": _query("instances", "Every instance gets a copy.") | {"schema": {"type": "string", "enum": ["all"]}},
    "IdempotencyKey": _header("Idempotency-Key", "The call may be delivered twice; an instance answers it once."),
    "Traceparent": _header("traceparent", "W3C trace context; passed on."),
    "Tracestate": _header("tracestate", "W3C trace context; passed on."),
    "Strategy": _header("Switchboard-Strategy", "Balancing strategy for this call alone."),
    "TimeoutMs": _header(
        "Switchboard-Timeout-Ms", "Time for the whole call; timeoutMs of a JSON body goes first.", {"type": "integer"}
    ),
}
_HEADER_PARAMETERS: Final = ("IdempotencyKey", "Traceparent", "Tracestate", "Strategy", "TimeoutMs")


def _make_operation_ids_unique(paths: Node) -> None:
    """Operations inside a namespace get their name with InNamespace."""
    for path, item in paths.items():
        for method in ("get", "post"):
            if method in item and "{namespace}" in path:
                item[method] = item[method] | {"operationId": item[method]["operationId"] + "InNamespace"}


def _version() -> str:
    try:
        return version("switchboard-agents")
    except PackageNotFoundError:  # run from the sources
        return "0"
