"""What the CRDs accept the models accept, and the other way round, on objects near the edge of the rules."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from manifests import agents, pools
from pydantic import ValidationError

from switchboard.resources import Agent, AgentNode, Model, explain_faults
from switchboard_wire.names import AGENT, AGENT_NODE

pytestmark = pytest.mark.integration

MODELS: dict[str, type[Model]] = {AGENT: Agent, AGENT_NODE: AgentNode}
BOUNDED = settings(
    max_examples=60,
    deadline=None,  # of a server that shares the machine with others
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.filter_too_much],
)


def _faults(manifest: dict[str, Any]) -> str | None:
    try:
        MODELS[manifest["kind"]].from_wire(manifest)
    except ValidationError as error:
        return "; ".join(explain_faults(error))
    return None


@given(manifest=pools())
@BOUNDED
def test_pools_are_judged_the_same(manifest, verdict) -> None:
    refusal, faults = verdict(manifest), _faults(manifest)

    assert (refusal is None) == (faults is None), f"API server: {refusal}\nmodels: {faults}"


@given(manifest=agents())
@BOUNDED
def test_agents_are_judged_the_same(manifest, verdict) -> None:
    refusal, faults = verdict(manifest), _faults(manifest)

    assert (refusal is None) == (faults is None), f"API server: {refusal}\nmodels: {faults}"
