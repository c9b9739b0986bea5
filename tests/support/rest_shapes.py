"""Answers of the REST API against the document that describes them."""

from typing import Any

from jsonschema import Draft202012Validator

from switchboard_gateway.rest.openapi import build_openapi

DOCUMENT = build_openapi()


def check_shape(value: object, schema: str) -> None:
    """Raises unless the value is as the document says, and has no member that it does not name."""
    components = {
        "components": {"schemas": {name: closed(found) for name, found in DOCUMENT["components"]["schemas"].items()}}
    }
    Draft202012Validator({**components, "$ref": f"#/components/schemas/{schema}"}).validate(value)


def closed(schema: Any) -> Any:
    if isinstance(schema, dict):
        schema = {name: closed(inner) for name, inner in schema.items()}
        if "properties" in schema:
            schema.setdefault("additionalProperties", False)
    return schema
