"""Write tests/support/oldest_kubernetes.json: the fields that the oldest supported Kubernetes knows, of what we write.

Needs Go, which fetches that release's own description of its API: `.venv/bin/python hack/kubernetes_fields.py`.
"""

import json
import subprocess
from pathlib import Path
from typing import Any

VERSION = "1.31.0"
TARGET = Path(__file__).resolve().parents[1] / "tests" / "support" / "oldest_kubernetes.json"
KINDS = (
    "apiextensions.k8s.io/v1 CustomResourceDefinition",
    "apiregistration.k8s.io/v1 APIService",
    "apps/v1 Deployment",
    "authentication.k8s.io/v1 TokenReview",
    "authorization.k8s.io/v1 SubjectAccessReview",
    "autoscaling/v2 HorizontalPodAutoscaler",
    "coordination.k8s.io/v1 Lease",
    "discovery.k8s.io/v1 EndpointSlice",
    "events.k8s.io/v1 Event",
    "networking.k8s.io/v1 NetworkPolicy",
    "policy/v1 PodDisruptionBudget",
    "rbac.authorization.k8s.io/v1 ClusterRole",
    "rbac.authorization.k8s.io/v1 ClusterRoleBinding",
    "rbac.authorization.k8s.io/v1 Role",
    "rbac.authorization.k8s.io/v1 RoleBinding",
    "v1 ConfigMap",
    "v1 Namespace",
    "v1 Pod",
    "v1 Secret",
    "v1 Service",
    "v1 ServiceAccount",
)
Json = dict[str, Any]


def main() -> None:
    """Fetch the description, keep what our kinds reach, write it one type a line."""
    fetched = subprocess.run(
        ["go", "mod", "download", "-json", f"k8s.io/kubernetes@v{VERSION}"], capture_output=True, check=True
    )
    swagger = Path(json.loads(fetched.stdout)["Dir"]) / "api" / "openapi-spec" / "swagger.json"
    definitions: Json = json.loads(swagger.read_text())["definitions"]
    kinds = {kind: name for kind, name in read_kinds(definitions).items() if kind in KINDS}
    types = collect(definitions, list(kinds.values()))
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(types[name], sort_keys=True)}" for name in sorted(types))
    head = f'"version": {json.dumps(VERSION)},\n"kinds": {json.dumps(kinds, sort_keys=True)}'
    TARGET.write_text(f'{{{head},\n"types": {{\n{lines}\n}}}}\n')


def read_kinds(definitions: Json) -> dict[str, str]:
    """Return the type of every kind, by API version and kind."""
    return {
        "/".join(filter(None, (item["group"], item["version"]))) + " " + item["kind"]: name
        for name, definition in definitions.items()
        for item in definition.get("x-kubernetes-group-version-kind", ())
    }


def collect(definitions: Json, pending: list[str]) -> dict[str, dict[str, str]]:
    """Return the fields of these types and of all that they reach: to each its type, "" where that has no fields.

    The type of a map is that of its values with "map " before it.
    """
    types: dict[str, dict[str, str]] = {}
    while pending:
        name = pending.pop()
        if name in types:
            continue
        properties = definitions[name].get("properties", {})
        types[name] = {field: type_of(definitions, schema) for field, schema in properties.items()}
        pending += [found.removeprefix("map ") for found in types[name].values() if found]
    return types


def type_of(definitions: Json, schema: Json) -> str:
    """Return the type of a field, or of the items of its list or map, when it has fields."""
    values = schema.get("additionalProperties")
    inner = schema.get("items") or values or schema
    name: str = inner.get("$ref", "").rpartition("/")[2]
    if "properties" not in definitions.get(name, {}):
        return ""
    return f"map {name}" if values else name


if __name__ == "__main__":
    main()
