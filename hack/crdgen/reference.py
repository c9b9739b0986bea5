"""docs/reference/resources.md: every field of both kinds as tables, with the rules of the API server."""

from collections.abc import Iterable, Iterator
from typing import Any

from crdgen.crd import UNLIMITED, Kind, root_schema
from crdgen.schema import Schema
from switchboard_wire import names

INTRODUCTION = f"""
Group and version `{names.API_VERSION}`. `kubectl explain agentnodes.spec` and `kubectl explain agents.spec` say the
same beside your own cluster. Agents are written `agents.{names.GROUP}` where another product also has `agents`.
Fields under `template` that are not listed are passed on to the pods as they are.
"""

# The whole spec of the other kind.
INLINE_POOL = "spec.node"


def render_reference(kinds: Iterable[Kind], header: str) -> str:
    """The whole document."""
    parts = [f"<!-- {header} -->\n# Resources\n{INTRODUCTION}"]
    for kind in kinds:
        parts.extend(_render_kind(kind))
    return "\n".join(parts)


def _render_kind(kind: Kind) -> Iterator[str]:
    schema = root_schema(kind)
    told: dict[str, str] = {}
    short = names.SHORT_NAMES[kind.kind]
    yield f"## {kind.kind}\n\n{schema['description']}\n\n`kubectl get {kind.plural}.{names.GROUP}`, short `{short}`.\n"
    if kind.selectable:
        fields = ", ".join(f"`{path.removeprefix('.')}`" for path in kind.selectable)
        yield f"Field selectors: {fields}.\n"
    yield from _render_rules(schema)
    for part in ("spec", "status"):
        yield from _render_object(part, schema["properties"][part], told)


def _render_object(path: str, schema: Schema, told: dict[str, str]) -> Iterator[str]:
    """The table of one object, then those of the objects inside it; ``told``: schema → where it is already."""
    yield f"### {path}\n"
    if path == INLINE_POOL:
        yield f"As the [spec of an {names.AGENT_NODE}](#{names.AGENT_NODE.lower()}).\n"
        return
    same = told.setdefault(repr(schema), path)
    if same != path:
        yield f"As `{same}`.\n"
        return
    required = set(schema.get("required", ()))
    rows = ["| field | type | default | meaning |", "|---|---|---|---|"]
    for name, field in schema["properties"].items():
        default = "required" if name in required else _show_default(field)
        rows.append(f"| `{name}` | {_show_type(field)} | {default} | {_escape(field['description'])} |")
    yield "\n".join(rows) + "\n"
    yield from _render_rules(schema)
    for name, field in schema["properties"].items():
        inner, suffix = (field["items"], "[]") if field.get("type") == "array" else (field, "")
        if "properties" in inner:
            yield from _render_object(f"{path}.{name}{suffix}", inner, told)


def _render_rules(schema: Schema) -> Iterator[str]:
    rules = schema.get("x-kubernetes-validations", ())
    if rules:
        listed = "\n".join(f"* {rule['message']}\n  `{rule['rule']}`" for rule in rules)
        yield f"Refused, with this message, unless the rule holds:\n\n{listed}\n"


def _show_type(field: Schema) -> str:
    if "enum" in field:
        return _escape(" or ".join(f"`{value}`" for value in field["enum"]))
    if field.get("x-kubernetes-int-or-string"):
        return "quantity"
    kind = field["type"]
    if kind == "array":
        unique = ""
        if keys := field.get("x-kubernetes-list-map-keys"):
            unique = f", unique by {' and '.join(keys)}"
        elif field.get("x-kubernetes-list-type") == "set":
            unique = ", unique"
        return f"list of {_show_type(field['items'])}, at most {field['maxItems']}{unique}"
    if "additionalProperties" in field:
        return f"map to {_show_type(field['additionalProperties'])}, at most {field['maxProperties']}"
    if kind == "object":
        return "object" if "properties" in field else "any object"
    return f"{kind}{_show_bounds(field)}"


def _show_bounds(field: Schema) -> str:
    if field.get("format") == "date-time":
        return ", a time in UTC"
    if "maximum" in field:
        return f", {field['minimum']} to {field['maximum']}" if field["maximum"] < UNLIMITED else ""
    if "maxLength" in field:
        return f" of at most {field['maxLength']}"
    return ""


def _show_default(field: Schema) -> str:
    default: Any = field.get("default")
    if default is None or isinstance(default, dict):
        return ""
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


def _escape(text: str) -> str:
    return text.replace("|", "\\|")
