"""What the sidecars of an AgentNode are told to host: built from the bound Agents, kept as protobuf JSON."""

import json
from collections import OrderedDict
from collections.abc import Iterable
from typing import Final

from google.protobuf import json_format

from switchboard_operator.binding import type_of, version_of
from switchboard_operator.objects import Resource, spec_concurrency
from switchboard_wire import names
from switchboard_wire.v1.frames_pb2 import Assignment, Assignments, HttpHandler, PythonHandler


def build_assignments(
    node: Resource, agents: Iterable[Resource], reserved: Iterable[str] = (), ca_bundle: str = ""
) -> Assignments:
    """The assignments of an AgentNode, Agents by name, without a generation. reserved: types not for its code.

    ca_bundle: what its pods trust.
    """
    return Assignments(
        concurrency=spec_concurrency(node),
        queue_length=node.spec.get("queueLength", 100),
        drain_ms=node.spec.get("drainSeconds", 30) * 1000,
        agents=[_assignment(agent) for agent in sorted(agents, key=lambda agent: agent.meta.name)],
        dynamic=node.spec.get("registration") == "Dynamic",
        reserved=reserved,
        ca_bundle=ca_bundle,
    )


def read_assignments(config_map: Resource | None) -> Assignments | None:
    """What a ConfigMap holds, which nobody may change; None when there is none, or when it cannot be read."""
    text = config_map.data.get(names.ASSIGNMENTS_FILE) if config_map else None
    if config_map is None or not text:
        return None
    held = _READ.get(config_map.meta.uid)
    if held is None or held[0] != text:
        held = _READ[config_map.meta.uid] = text, _parse(text)
        if len(_READ) > MAX_READ:
            _READ.popitem(last=False)
    return held[1]


# With a hundred Agents that takes milliseconds, and each text is read several times: by its streams and by each plan.
# Only the latest of each ConfigMap, by UID: what handlers are configured with may make them large.
_READ: Final[OrderedDict[str, tuple[str, Assignments | None]]] = OrderedDict()
MAX_READ: Final = 256


def _parse(text: str) -> Assignments | None:
    try:
        return json_format.Parse(text, Assignments(), ignore_unknown_fields=True)
    except json_format.ParseError:  # somebody wrote into it: the next generation replaces it
        return None


def write_assignments(assignments: Assignments) -> str:
    """The text for the ConfigMap; the same for the same assignments."""
    return json_format.MessageToJson(assignments, indent=None, sort_keys=True)


def is_same_work(a: Assignments, b: Assignments, but_for: Iterable[str] = ()) -> bool:
    """Whether both say the same but for the generation, and for these fields."""
    left, right = Assignments(), Assignments()
    left.CopyFrom(a)
    right.CopyFrom(b)
    for part in ("generation", *but_for):
        left.ClearField(part)  # type: ignore[arg-type]
        right.ClearField(part)  # type: ignore[arg-type]
    return left == right


def _assignment(agent: Resource) -> Assignment:
    spec = agent.spec
    assignment = Assignment(
        name=agent.meta.name,
        type=type_of(agent),
        version=version_of(agent),
        concurrency=spec.get("concurrency") or 0,
        timeout_ms=spec.get("timeoutSeconds", 30) * 1000,
        max_payload_bytes=spec.get("maxPayloadBytes", 4194304),
        restricted=bool(spec.get("allowedCallers")),
    )
    handler = spec.get("handler") or {}
    if python := handler.get("python"):
        config = json.dumps(python.get("config") or {}, sort_keys=True)
        assignment.python.CopyFrom(PythonHandler(entry=python.get("entry", ""), config_json=config))
    elif http := handler.get("http"):
        health_path = http.get("healthPath") or ""
        assignment.http.CopyFrom(
            HttpHandler(port=http.get("port", 0), path=http.get("path", ""), health_path=health_path)
        )
    return assignment
