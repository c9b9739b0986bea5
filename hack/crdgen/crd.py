"""The two CustomResourceDefinitions around the schemas: names, columns, subresources."""

from dataclasses import dataclass
from typing import Any

from crdgen.schema import Schema, build_schema
from switchboard.resources import Agent, AgentNode, Model
from switchboard_wire import names


@dataclass(frozen=True, slots=True)
class Column:
    """A column of ``kubectl get``; ``wide`` ones appear with ``-o wide`` only."""

    name: str
    path: str
    type: str = "string"
    wide: bool = False

    def to_wire(self) -> dict[str, Any]:
        return {"name": self.name, "type": self.type, "jsonPath": self.path} | ({"priority": 1} if self.wide else {})


@dataclass(frozen=True, slots=True)
class Kind:
    """One custom resource: its model and how the API server serves it."""

    model: type[Model]
    kind: str
    plural: str
    columns: tuple[Column, ...]
    selectable: tuple[str, ...] = ()
    scale: tuple[tuple[str, str], ...] = ()

    @property
    def name(self) -> str:
        return f"{self.plural}.{names.GROUP}"


def _condition(kind: str, part: str) -> str:
    return f'.status.conditions[?(@.type=="{kind}")].{part}'


# A bound that only says that the number is a JSON number is no news to a reader.
UNLIMITED = 2**53

AGE = Column("Age", ".metadata.creationTimestamp", "date")
READY = Column("Ready", _condition("Ready", "status"))
WHY = (
    Column("Reason", _condition("Ready", "reason"), wide=True),
    Column("Message", _condition("Ready", "message"), wide=True),
)

# Both kinds in one listing carry their resource before the name; what is not wide still fits 80 columns then.
KINDS = (
    Kind(
        AgentNode,
        names.AGENT_NODE,
        names.AGENT_NODES,
        columns=(
            READY,
            Column("Desired", ".spec.replicas", "integer"),
            Column("Pods", ".status.replicas", "integer"),
            Column("Up", ".status.counts.up", "integer"),
            Column("Agents", ".status.agents", "integer"),
            Column("Starting", ".status.counts.starting", "integer", wide=True),
            Column("Degraded", ".status.counts.degraded", "integer", wide=True),
            Column("Draining", ".status.counts.draining", "integer", wide=True),
            Column("Down", ".status.counts.down", "integer", wide=True),
            Column("Activity", ".status.activity", wide=True),
            AGE,
            *WHY,
        ),
        scale=(
            ("specReplicasPath", ".spec.replicas"),
            ("statusReplicasPath", ".status.replicas"),
            ("labelSelectorPath", ".status.selector"),
        ),
    ),
    Kind(
        Agent,
        names.AGENT,
        names.AGENTS,
        columns=(
            Column("Type", ".status.type"),
            Column("Node", ".status.node"),
            READY,
            Column("Up", ".status.readyInstances", "integer"),
            Column("Of", ".status.instances", "integer"),
            AGE,
            Column("Version", ".spec.version", wide=True),
            *WHY,
        ),
        selectable=(".spec.nodeRef.name", ".spec.type"),
    ),
)


def build_crd(kind: Kind) -> dict[str, Any]:
    """The CustomResourceDefinition of a kind."""
    version: dict[str, Any] = {
        "name": names.VERSION,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": _tell_limits(root_schema(kind))},
        "subresources": {"status": {}} | ({"scale": dict(kind.scale)} if kind.scale else {}),
        "additionalPrinterColumns": [column.to_wire() for column in kind.columns],
    }
    if kind.selectable:
        version["selectableFields"] = [{"jsonPath": path} for path in kind.selectable]
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": kind.name, "labels": {"app.kubernetes.io/part-of": "switchboard"}},
        "spec": {
            "group": names.GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": kind.kind,
                "listKind": f"{kind.kind}List",
                "plural": kind.plural,
                "singular": kind.kind.lower(),
                "shortNames": [names.SHORT_NAMES[kind.kind]],
                "categories": [names.CATEGORY],
            },
            "versions": [version],
        },
    }


def root_schema(kind: Kind) -> Schema:
    """The object's schema; what the API server itself defines (apiVersion, kind, metadata) is left to it."""
    schema = build_schema(kind.model)
    for name in ("apiVersion", "kind"):
        schema["properties"][name] = {"type": "string", "description": schema["properties"][name]["description"]}
    schema["properties"]["metadata"] = {"type": "object"}
    # Absent as long as no operator has looked: an empty default would say that it had.
    schema["properties"]["status"].pop("default", None)
    schema["required"] = [name for name in schema["required"] if name != "metadata"]
    if not schema["required"]:
        del schema["required"]
    return schema


def _tell_limits(schema: Schema) -> Schema:
    """The schema with defaults and ranges in the descriptions too, because ``kubectl explain`` shows neither."""
    told = dict(schema)
    words = [schema["description"]] if "description" in schema else []
    if "minimum" in schema and schema["maximum"] < UNLIMITED:
        words.append(f"From {schema['minimum']} to {schema['maximum']}.")
    default = schema.get("default")
    if default is not None and not isinstance(default, dict):
        words.append(f"Defaults to {str(default).lower() if isinstance(default, bool) else default}.")
    if "description" in schema:
        told["description"] = " ".join(words)
    if "properties" in schema:
        told["properties"] = {name: _tell_limits(part) for name, part in schema["properties"].items()}
    if "items" in schema:
        told["items"] = _tell_limits(schema["items"])
    return told
