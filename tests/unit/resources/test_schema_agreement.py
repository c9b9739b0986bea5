"""Property: the models and the generated schema admit the same, but for rules that only CEL states.

A plain JSON Schema validator stands in for the API server here; tests/integration/crds asks a real one.
"""

from typing import Any

import jsonschema
import pytest
from crdgen.crd import KINDS, root_schema
from hypothesis import HealthCheck, given, settings
from manifests import agents, pools
from pydantic import ValidationError

from switchboard.resources import Agent, AgentNode, Model
from switchboard_wire.names import AGENT, AGENT_NODE

MODELS: dict[str, type[Model]] = {AGENT: Agent, AGENT_NODE: AgentNode}
SCHEMAS = {kind.kind: root_schema(kind)["properties"]["spec"] for kind in KINDS}
# What only the API server knows: rules in CEL, uniqueness in lists, and that it drops nulls and refuses unknown fields.
BEYOND_JSON_SCHEMA = {"rule", "duplicate", "extra_forbidden"}
BOUNDED = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def as_json_schema(schema: Any) -> Any:
    """A structural schema without the words that only Kubernetes knows."""
    if isinstance(schema, list):
        return [as_json_schema(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {key: as_json_schema(value) for key, value in schema.items() if not key.startswith("x-kubernetes-")}


def _without_nulls(value: Any, schema: Any) -> Any:
    """The value as the API server sees it: nulls of typed fields and of typed maps are dropped."""
    if isinstance(value, list):
        return [_without_nulls(item, schema.get("items", {})) for item in value]
    if not isinstance(value, dict):
        return value
    typed, rest = schema.get("properties", {}), schema.get("additionalProperties")
    return {
        name: _without_nulls(item, typed.get(name, rest or {}))
        for name, item in value.items()
        if not (item is None and (name in typed or rest))
    }


def _check(manifest: dict[str, Any]) -> None:
    kind = manifest["kind"]
    schema = SCHEMAS[kind]
    fits = jsonschema.Draft202012Validator(as_json_schema(schema)).is_valid(_without_nulls(manifest["spec"], schema))
    try:
        model = MODELS[kind].from_wire(manifest)
    except ValidationError as refused:
        kinds_of_fault = {fault["type"] for fault in refused.errors()}
        assert not fits or kinds_of_fault <= BEYOND_JSON_SCHEMA
    else:
        assert fits
        jsonschema.validate(model.to_wire()["spec"], as_json_schema(schema))
        assert MODELS[kind].from_wire(model.to_wire()) == model


@given(manifest=pools())
@BOUNDED
def test_pools(manifest) -> None:
    _check(manifest)


@given(manifest=agents())
@BOUNDED
def test_agents(manifest) -> None:
    _check(manifest)


@pytest.mark.parametrize("kind", [AGENT, AGENT_NODE])
def test_the_strategies_reach_both_verdicts(kind) -> None:
    """The properties above say nothing when everything is refused, or nothing is."""
    verdicts = set()

    @given(manifest=pools() if kind == AGENT_NODE else agents())
    @settings(BOUNDED, derandomize=True, database=None)
    def collect(manifest: dict[str, Any]) -> None:
        try:
            MODELS[kind].from_wire(manifest)
        except ValidationError:
            verdicts.add("refused")
        else:
            verdicts.add("admitted")

    collect()
    assert verdicts == {"refused", "admitted"}
