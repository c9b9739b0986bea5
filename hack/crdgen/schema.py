"""A pydantic model as a structural schema of Kubernetes.

The API server takes a subset of OpenAPI v3 (structural-schema rules of CustomResourceDefinitions). What pydantic
emits beyond it is rewritten here, and what cannot be rewritten is refused with its path: no reference, no title, no
``const``, no ``anyOf`` but int-or-string; every string, list, map and number bounded (the cost of a CEL rule is
estimated from the bounds, and what is unbounded can fill etcd); every field described.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from pydantic import BaseModel

Schema = dict[str, Any]

# Passed through as they are; everything else is either rewritten below or refused.
KEPT: Final = (
    "description",
    "type",
    "format",
    "enum",
    "pattern",
    "minLength",
    "maxLength",
    "minimum",
    "maximum",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
    "required",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-validations",
)
REWRITTEN: Final = frozenset(
    {"$defs", "$ref", "title", "default", "anyOf", "const", "properties", "items", "additionalProperties"}
    | {"exclusiveMinimum", "exclusiveMaximum"}
)
BOUNDS: Final = {
    "string": ("maxLength",),
    "array": ("maxItems",),
    "integer": ("minimum", "maximum"),
    "number": ("minimum", "maximum"),
}


class NotStructuralError(ValueError):
    """The model says something that a CRD cannot say; the message begins with the field's path."""


def build_schema(model: type[BaseModel]) -> Schema:
    """The structural schema of a model, by the names of the wire; raises ``NotStructuralError``."""
    emitted = model.model_json_schema(by_alias=True, mode="validation")
    return _convert(emitted, _Place(model.__name__, emitted.get("$defs", {}), ()))


class _Place:
    """Where in the model the conversion is: the path for messages, and the references it is inside of."""

    def __init__(self, path: str, definitions: Mapping[str, Schema], inside: tuple[str, ...]) -> None:
        self.path, self.definitions, self.inside = path, definitions, inside

    def below(self, step: str) -> "_Place":
        return _Place(f"{self.path}{step}", self.definitions, self.inside)

    def resolve(self, reference: str) -> tuple[Schema, "_Place"]:
        name = reference.removeprefix("#/$defs/")
        if name in self.inside:
            raise self.fault(f"{name} contains itself; a CRD has no references")
        return self.definitions[name], _Place(self.path, self.definitions, (*self.inside, name))

    def fault(self, words: str) -> NotStructuralError:
        return NotStructuralError(f"{self.path}: {words}")


def _convert(emitted: Schema, place: _Place) -> Schema:
    emitted, place = _flatten(emitted, place)
    unknown = emitted.keys() - REWRITTEN - set(KEPT)
    if unknown:
        raise place.fault(f"{', '.join(sorted(unknown))} has no place in a structural schema")
    if "anyOf" in emitted:
        return _convert_int_or_string(emitted, place)
    schema: Schema = {key: emitted[key] for key in KEPT if key in emitted}
    if "const" in emitted:
        schema["enum"] = [emitted["const"]]
    for exclusive, bound in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if exclusive in emitted:
            schema |= {bound: emitted[exclusive], exclusive: True}
    if schema.get("type") == "object":
        schema |= _convert_object(emitted, place)
    elif schema.get("type") == "array":
        schema["items"] = _convert(emitted["items"], place.below("[]"))
        schema["items"].pop("description", None)  # that of the class; the field has its own
    _check_bounds(schema, place)
    return schema | _default_of(emitted, schema)


def _flatten(emitted: Schema, place: _Place) -> tuple[Schema, _Place]:
    """Replace references and optional wrappers by what they stand for; the field's own words win over the class's."""
    while True:
        if "$ref" in emitted:
            target, place = place.resolve(emitted["$ref"])
            emitted = {**target, **{key: value for key, value in emitted.items() if key != "$ref"}}
            continue
        choices = emitted.get("anyOf", [])
        present = [choice for choice in choices if choice != {"type": "null"}]
        if len(choices) != 2 or len(present) != 1:
            return emitted, place
        emitted = {**present[0], **{key: value for key, value in emitted.items() if key != "anyOf"}}


def _convert_int_or_string(emitted: Schema, place: _Place) -> Schema:
    by_type = {choice.get("type"): choice for choice in emitted["anyOf"]}
    if by_type.keys() != {"integer", "string"} or len(emitted["anyOf"]) != 2:
        raise place.fault("of all unions a CRD knows only that of integer and string")
    schema = {key: emitted[key] for key in ("description",) if key in emitted}
    schema |= {"x-kubernetes-int-or-string": True, "anyOf": [{"type": "integer"}, {"type": "string"}]}
    text = by_type["string"]
    return schema | {key: text[key] for key in ("pattern", "minLength", "maxLength") if key in text}


def _convert_object(emitted: Schema, place: _Place) -> Schema:
    values = emitted.get("additionalProperties")
    properties: Mapping[str, Schema] = emitted.get("properties", {})
    if properties:
        if isinstance(values, dict):
            raise place.fault("a CRD has either properties or additionalProperties")
        return {"properties": dict(_convert_properties(properties, place))}
    if "maxProperties" not in emitted and values is not False:
        raise place.fault("needs maxProperties")
    if not isinstance(values, dict):
        return {}
    if _flatten(values, place)[0] == {}:
        return {"x-kubernetes-preserve-unknown-fields": True}
    return {"additionalProperties": _convert(values, place.below("{}"))}


def _convert_properties(properties: Mapping[str, Schema], place: _Place) -> Iterable[tuple[str, Schema]]:
    for name, emitted in properties.items():
        at = place.below(f".{name}")
        schema = _convert(emitted, at)
        if "description" not in schema:
            raise at.fault("needs a description")
        yield name, schema


def _default_of(emitted: Schema, schema: Schema) -> Schema:
    """The default as the API server needs it.

    A part whose fields have defaults gets them all as its own: the API server fills in only what is inside of
    something, and holds a part's default against its rules as it is written. Absent (None) and empty need none.
    """
    default = emitted.get("default")
    if isinstance(default, dict):
        inner = {name: part["default"] for name, part in schema.get("properties", {}).items() if "default" in part}
        return {"default": inner} if inner else {}
    return {} if default is None or default in ([], "") else {"default": default}


def _check_bounds(schema: Schema, place: _Place) -> None:
    kind = schema.get("type")
    if kind is None:
        raise place.fault("needs a type")
    if "enum" in schema:
        return
    for bound in BOUNDS.get(kind, ()):
        if bound not in schema:
            raise place.fault(f"needs {bound}")
