"""values.yaml, values.schema.json and the README's table agree. What helm makes of them: tests/integration/chart."""

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import jsonschema
import pytest
import yaml

# Objects of Kubernetes, whose insides are the API server's to check, and what a parent chart writes
OPEN = {
    *("podSecurityContext", "securityContext", "claims[]", "nodeAffinity", "podAffinity", "podAntiAffinity"),
    *("labelSelector", "valueFrom", "namespaceSelector", "podSelector", "ipBlock", "global"),
}

VALID = {
    "labels for everything": {"commonLabels": {"team": "ai"}},
    "two pull secrets": {"imagePullSecrets": [{"name": "a"}, {"name": "b"}]},
    "no registry": {"image": {"registry": ""}},
    "a registry with a port and a path": {"image": {"registry": "registry.example.com:5000/ai"}},
    "a digest": {"gateway": {"image": {"repository": "gateway", "digest": "sha256:" + "0" * 64}}},
    "namespaces of one team": {"watchNamespaces": ["a", "b-1"], "rbac": {"namespaced": True}},
    "an operator that is stopped": {"operator": {"replicas": 0}},
    "a toleration": {"operator": {"tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}]}},
    "a load balancer": {"gateway": {"service": {"type": "LoadBalancer", "loadBalancerSourceRanges": ["10.0.0.0/8"]}}},
    "sessions that live for ever": {"gateway": {"grpc": {"maxConnectionAgeSeconds": 0, "reflection": True}}},
    "objects as map and as text": {"extraObjects": [{"kind": "ConfigMap"}, "kind: ConfigMap"]},
    "values of a parent chart": {"global": {"anything": 1}},
}

INVALID = {
    "a key that is not there": ({"operater": {}}, []),
    "a key that is not there, deep": ({"gateway": {"service": {"tpye": "NodePort"}}}, ["gateway", "service"]),
    "requests smaller than a session's": (
        {"gateway": {"grpc": {"maxRequestBytes": 1000}}},
        ["gateway", "grpc", "maxRequestBytes"],
    ),
    "replicas as text": ({"operator": {"replicas": "2"}}, ["operator", "replicas"]),
    "fewer replicas than none": ({"gateway": {"replicas": -1}}, ["gateway", "replicas"]),
    "a pull policy in lower case": ({"image": {"pullPolicy": "always"}}, ["image", "pullPolicy"]),
    "a digest that is a tag": (
        {"host": {"image": {"repository": "host", "digest": "1.0"}}},
        ["host", "image", "digest"],
    ),
    "a tag with a colon": ({"image": {"tag": ":1.0"}}, ["image", "tag"]),
    "a registry with a blank": ({"image": {"registry": "my registry"}}, ["image", "registry"]),
    "a namespace in upper case": ({"watchNamespaces": ["Team"]}, ["watchNamespaces", 0]),
    "one namespace twice": ({"watchNamespaces": ["a", "a"]}, ["watchNamespaces"]),
    "namespaces as text": ({"watchNamespaces": "a,b"}, ["watchNamespaces"]),
    "an unknown log level": ({"log": {"level": "trace"}}, ["log", "level"]),
    "a label's value with a blank": ({"commonLabels": {"team": "a b"}}, ["commonLabels", "team"]),
    "memory that is no quantity": (
        {"operator": {"resources": {"limits": {"memory": "lots"}}}},
        ["operator", "resources", "limits", "memory"],
    ),
    "a pull secret without a name": ({"imagePullSecrets": [{}]}, ["imagePullSecrets", 0]),
    "a spread without a key": (
        {"gateway": {"topologySpreadConstraints": [{"maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule"}]}},
        ["gateway", "topologySpreadConstraints", 0],
    ),
    "an interval without a unit": (
        {"metrics": {"podMonitor": {"interval": "30"}}},
        ["metrics", "podMonitor", "interval"],
    ),
}


@pytest.fixture(scope="session")
def schema(chart: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((chart / "values.schema.json").read_text())
    return loaded


@pytest.fixture
def values(chart: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((chart / "values.yaml").read_text())
    return loaded


def test_schema_is_one(schema: dict[str, Any]) -> None:
    jsonschema.Draft7Validator.check_schema(schema)


def test_defaults_pass_the_schema(schema: dict[str, Any], values: dict[str, Any]) -> None:
    jsonschema.Draft7Validator(schema).validate(values)


@pytest.mark.parametrize("change", VALID.values(), ids=VALID.keys())
def test_schema_accepts(schema: dict[str, Any], values: dict[str, Any], change: dict[str, Any]) -> None:
    jsonschema.Draft7Validator(schema).validate(merge(values, change))


@pytest.mark.parametrize(("change", "path"), INVALID.values(), ids=INVALID.keys())
def test_schema_refuses_and_names_the_field(
    schema: dict[str, Any], values: dict[str, Any], change: dict[str, Any], path: list[str | int]
) -> None:
    errors = list(jsonschema.Draft7Validator(schema).iter_errors(merge(values, change)))
    assert [list(error.absolute_path) for error in errors] == [path]


def test_every_level_of_the_schema_is_closed(schema: dict[str, Any]) -> None:
    open_paths = [path for path, node in objects(schema, schema) if "additionalProperties" not in node]
    assert {path.rsplit(".", 1)[-1] for path in open_paths} == OPEN


def test_schema_and_values_have_the_same_keys(schema: dict[str, Any], values: dict[str, Any]) -> None:
    assert set(keys_of_schema(schema, schema)) - {"global"} == set(keys_of_values(values, schema, schema))


def test_readme_lists_the_values_as_they_are(chart: Path, load_file: Callable[[str], ModuleType]) -> None:
    docs = load_file("hack/generate_chart_docs.py")
    readme = (chart / "README.md").read_text()
    assert docs.insert_table(readme, docs.render_table(docs.read_rows((chart / "values.yaml").read_text()))) == readme


@pytest.mark.parametrize("text", ["a:\n  # -- said\n  b: 1\n  c: 2\n", "# not a description\na: []\n"])
def test_a_value_without_a_description_is_an_error(load_file: Callable[[str], ModuleType], text: str) -> None:
    docs = load_file("hack/generate_chart_docs.py")
    with pytest.raises(docs.UndocumentedError):
        list(docs.read_rows(text))


def merge(base: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    """As helm does it: maps are merged, everything else is replaced."""
    merged = copy.deepcopy(base)
    for key, value in change.items():
        both_maps = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = merge(merged[key], value) if both_maps else value
    return merged


def resolve(node: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    reference = node.get("$ref")
    return schema["definitions"][reference.rsplit("/", 1)[1]] if reference else node


def objects(node: dict[str, Any], schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every part of the schema that is an object, with its dotted path."""
    node = resolve(node, schema)
    if node.get("type") == "object":
        yield path, node
    for name, child in node.get("properties", {}).items():
        yield from objects(child, schema, f"{path}.{name}".lstrip("."))
    if "items" in node:
        yield from objects(node["items"], schema, f"{path}[]")


def is_structure(node: dict[str, Any]) -> bool:
    """Is this a level of our own values, rather than something that the user fills with an object of Kubernetes?"""
    return "properties" in node and not {"requests", "nodeAffinity"} & set(node["properties"])


def keys_of_schema(node: dict[str, Any], schema: dict[str, Any], path: str = "") -> Iterator[str]:
    node = resolve(node, schema)
    if not is_structure(node):
        yield path
        return
    for name, child in node["properties"].items():
        yield from keys_of_schema(child, schema, f"{path}.{name}".lstrip("."))


def keys_of_values(values: Any, node: dict[str, Any], schema: dict[str, Any], path: str = "") -> Iterator[str]:
    node = resolve(node, schema)
    if not is_structure(node):
        yield path
        return
    for name, child in values.items():
        yield from keys_of_values(child, node["properties"][name], schema, f"{path}.{name}".lstrip("."))
