"""Schemas of the REST API's bodies (JSON Schema 2020-12, as OpenAPI 3.1 has them)."""

from typing import Any, Final

from switchboard_gateway.listing import AGENT_STATES, INSTANCE_STATES
from switchboard_gateway.rest.json_body import MAX_TIMEOUT_MS
from switchboard_routing.breaker import State
from switchboard_routing.policy import KeyAffinity, Strategy
from switchboard_wire.errors import ERROR_TABLE, name_of

Node = dict[str, Any]

_TEXT: Final[Node] = {"type": "string"}
_COUNT: Final[Node] = {"type": "integer", "minimum": 0}
_NUMBER: Final[Node] = {"type": "number", "minimum": 0}
_STRINGS: Final[Node] = {"type": "array", "items": _TEXT}
_STRING_MAP: Final[Node] = {"type": "object", "additionalProperties": _TEXT}


def _object(properties: Node, *, optional: tuple[str, ...] = ()) -> Node:
    """An object that has every property but the optional ones."""
    required = [name for name in properties if name not in optional]
    return {"type": "object", "required": required, "properties": properties}


def _list(name: str, item: str) -> Node:
    return _object({name: {"type": "array", "items": {"$ref": f"#/components/schemas/{item}"}}})


def _choice(*values: str) -> Node:
    return {"type": "string", "enum": list(values)}


def _said(node: Node, text: str) -> Node:
    return node | {"description": text}


_EXECUTION = _object(
    {
        "input": _said({}, "A string reaches the agent as text/plain, any other value as application/json."),
        "metadata": _said(_STRING_MAP, "Headers of the message."),
        "timeoutMs": {
            "type": "integer",
            "minimum": 1,
            "maximum": MAX_TIMEOUT_MS,
            "description": "The Agent's when left out.",
        },
    },
    optional=("metadata", "timeoutMs"),
) | {"additionalProperties": False, "example": {"input": "hello", "metadata": {}, "timeoutMs": 5000}}

_ANSWER = _object(
    {
        "id": _said(_TEXT, "Id of the message."),
        "output": _said({}, "Text as a string, JSON as its value, other types in base64."),
        "contentType": _said(_TEXT, "Of the output, when it is neither text/plain nor application/json."),
        "encoding": _said(_choice("base64"), "When the output is base64."),
        "agent": _said(_TEXT, "Name of the Agent that answered."),
        "instance": _said(_TEXT, "Name of the instance that answered."),
        "processingMs": _said(_NUMBER, "Time in the handler."),
        "metadata": _said(_STRING_MAP, "Headers of the answer, when the handler gave any."),
    },
    optional=("contentType", "encoding", "metadata"),
)

_RESULT = _object(
    {
        "agent": _said(_TEXT, "Id of the receiver: type or type/key."),
        "ok": {"type": "boolean"},
        "instance": _said(_TEXT, "Name of the instance that answered, or that was meant."),
        "output": _said({}, "Text as a string, JSON as its value; left out when there was none."),
        "outputBase64": _said(_TEXT, "Other bytes, or the beginning of an output that is truncated."),
        "contentType": _said(_TEXT, "Of outputBase64."),
        "truncated": _said({"type": "boolean"}, "Only the beginning of the output is here."),
        "error": _object(
            {
                "code": _choice(*(name_of(code) for code in ERROR_TABLE)),
                "message": _TEXT,
                "retryAfterMs": _COUNT,
                "delivered": _choice("NO", "MAYBE", "YES"),
            },
            optional=("retryAfterMs",),
        ),
    },
    optional=("instance", "output", "outputBase64", "contentType", "truncated", "error"),
)

_RESULTS = _object(
    {
        "id": _said(_TEXT, "Id of the message."),
        "delivered": _said(_COUNT, "Receivers that answered."),
        "failed": _said(_COUNT, "Receivers that did not."),
        "results": {"type": "array", "items": {"$ref": "#/components/schemas/Result"}},
    }
)

_CLOUD_EVENT: Final[Node] = {
    "type": "object",
    "required": ["specversion", "id", "source", "type"],
    "properties": {
        "specversion": _choice("1.0"),
        "id": _TEXT,
        "source": _TEXT,
        "type": _said(_TEXT, "The topic."),
        "datacontenttype": _TEXT,
        "data": {},
        "data_base64": _TEXT,
    },
}

_PROBLEM = _object(
    {
        "type": {"type": "string", "format": "uri"},
        "title": _TEXT,
        "status": {"type": "integer"},
        "detail": _TEXT,
        "code": _choice(*(name_of(code) for code in ERROR_TABLE)),
        "delivered": _said(_choice("NO", "MAYBE", "YES"), "Whether a handler may have seen the message."),
        "retryAfterMs": _said(_COUNT, "When another try makes sense."),
        "details": _STRING_MAP,
    },
    optional=("retryAfterMs", "details"),
)

_AGENT_STATE: Final = _said(_choice(*AGENT_STATES), "The best of its instances'; Offline when there is none.")

_SUMMARY = _object(
    {
        "namespace": _TEXT,
        "name": _TEXT,
        "type": _TEXT,
        "version": _TEXT,
        "description": _TEXT,
        "capabilities": _STRINGS,
        "nodes": _said(_STRINGS, "AgentNodes."),
        "instancesReady": _said(_COUNT, "Instances that can answer now."),
        "strategy": _choice(*(strategy.value for strategy in Strategy)),
        "state": _AGENT_STATE,
    }
)

_AGENT = _object(
    {
        "name": _TEXT,
        "version": _TEXT,
        "description": _TEXT,
        "capabilities": {
            "type": "array",
            "items": _object({"name": _TEXT, "version": _TEXT, "description": _TEXT}),
        },
        "topics": {
            "type": "array",
            "items": _object({"type": _TEXT, "match": _choice("Exact", "Prefix")}),
        },
        "nodes": _STRINGS,
        "instancesReady": _COUNT,
        "state": _AGENT_STATE,
        "weight": _COUNT,
        "strategy": _choice(*(strategy.value for strategy in Strategy)),
        "keyAffinity": _choice(*(affinity.value for affinity in KeyAffinity)),
        "timeoutMs": _COUNT,
        "maxPayloadBytes": _COUNT,
        "attempts": _said(_COUNT, "Of one call, the first included."),
        "idempotent": {"type": "boolean"},
        "allowedCallers": _said(_STRINGS, "Patterns of who may call it. Empty: everybody may."),
        "hedging": _said(
            _object({"delayMs": _COUNT, "attempts": _COUNT}),
            "Without an answer for so long, one more instance is asked. Missing: no hedging.",
        ),
        "held": _said(
            _object({"calls": _COUNT, "bytes": _COUNT}),
            "What waits at this replica for an instance; bytes with ids and headers.",
        ),
        "instances": {"type": "array", "items": {"$ref": "#/components/schemas/Instance"}},
    },
    optional=("hedging",),
)

_INSTANCE = _object(
    {
        "agent": _said(_TEXT, "Name of the Agent that the rest is about."),
        "name": _TEXT,
        "node": _said(_TEXT, "AgentNode."),
        "zone": _TEXT,
        "state": _choice(*INSTANCE_STATES),
        "message": _said(_TEXT, "Why it failed."),
        "inFlight": _said(_COUNT, "Calls of this gateway that it has, of all its Agents."),
        "concurrency": _said(_COUNT, "Messages that it works on at once."),
        "latencyMs": _said(_NUMBER, "Moving average that follows a slower answer at once."),
        "weight": _said(_NUMBER, "By load, of which balancing by weight makes use."),
        "circuit": _choice(*(state.value for state in State)),
        "nextAttemptMs": _said(_COUNT, "Until an open circuit is tried again."),
        "agents": _said(_STRINGS, "Names of the Agents that are ready there."),
    },
    optional=("message", "nextAttemptMs"),
)

_STATISTICS = _object(
    {
        "namespace": _TEXT,
        "agents": _COUNT,
        "instances": _COUNT,
        "calls": {
            "type": "object",
            "additionalProperties": _COUNT,
            "description": "Calls that ended, by error code or OK.",
        },
        "gateway": _said(
            _object({"sessions": _COUNT, "held": _COUNT, "links": _COUNT}),
            "This gateway as a whole: sessions of clients, calls that wait for an instance, links with sidecars.",
        ),
    }
)

SCHEMAS: Final[Node] = {
    "Execution": _EXECUTION,
    "Answer": _ANSWER,
    "Result": _RESULT,
    "Results": _RESULTS,
    "CloudEvent": _CLOUD_EVENT,
    "Problem": _PROBLEM,
    "AgentSummary": _SUMMARY,
    "AgentList": _list("agents", "AgentSummary"),
    "Agent": _AGENT,
    "AgentType": _object(
        {
            "namespace": _TEXT,
            "type": _TEXT,
            "instancesReady": _COUNT,
            "agents": {"type": "array", "items": {"$ref": "#/components/schemas/Agent"}},
        }
    ),
    "Instance": _INSTANCE,
    "InstanceList": _list("instances", "Instance"),
    "Statistics": _STATISTICS,
    "Health": _object({"status": _choice("ok")}),
}
