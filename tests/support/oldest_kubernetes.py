"""What the oldest supported Kubernetes knows of the kinds that we write; hack/kubernetes_fields.py writes the list."""

import json
from pathlib import Path
from typing import Any

_KNOWN: dict[str, Any] = json.loads(Path(__file__).with_suffix(".json").read_text())
VERSION: str = _KNOWN["version"]
KINDS: dict[str, str] = _KNOWN["kinds"]
_TYPES: dict[str, dict[str, str]] = _KNOWN["types"]


def is_of_kubernetes(api_version: str) -> bool:
    """Tell whether the group is Kubernetes' own."""
    group = api_version.rpartition("/")[0]
    return "." not in group or group.endswith(".k8s.io")


def unknown_fields(manifest: dict[str, Any]) -> list[str]:
    """Return the paths of what that Kubernetes would refuse or drop; the kind itself when it does not have it."""
    kind = f"{manifest['apiVersion']} {manifest['kind']}"
    return _unknown(manifest, KINDS[kind], kind) if kind in KINDS else [kind]


def _unknown(value: object, name: str, path: str) -> list[str]:
    """Compare a value, or each item of a list, with the type; "" is a type without fields."""
    if isinstance(value, list):
        return [found for item in value for found in _unknown(item, name, f"{path}[]")]
    if not isinstance(value, dict) or not name:
        return []
    if name.startswith("map "):
        inner = name.removeprefix("map ")
        return [found for key, item in value.items() for found in _unknown(item, inner, f"{path}.{key}")]
    known = _TYPES[name]
    strange = [f"{path}.{key}" for key in value if key not in known]
    return strange + [
        found for key, item in value.items() if key in known for found in _unknown(item, known[key], f"{path}.{key}")
    ]
