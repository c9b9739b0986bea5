"""Whatever spec gets past the API server: a reconcile tells a fault or makes a plan, and never raises."""

import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from manifests import agents, pools
from operator_objects import (
    CONTEXT,
    NOW,
    come_true,
    make_agent_snapshot,
    make_meta,
    make_snapshot,
)

from switchboard_operator.assignments import build_assignments, write_assignments
from switchboard_operator.checks import check_agent, check_node
from switchboard_operator.objects import Resource
from switchboard_operator.plan import Apply, plan_node
from switchboard_operator.status import build_agent_status, build_node_status
from switchboard_wire import names

ANYTHING = settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))


@ANYTHING
@given(manifest=pools())
def test_any_agentnode(manifest: dict[str, Any]) -> None:
    node = Resource(names.AGENT_NODE, make_meta(), manifest.get("spec") or {}, {}, {})
    snapshot = make_snapshot(node)
    fault = check_node(snapshot)
    if fault is None:
        plan = plan_node(snapshot, CONTEXT)
        json.dumps([action.manifest for action in plan if isinstance(action, Apply)])
        after = come_true(snapshot, plan)
        assert plan_node(after, CONTEXT) == []
    assert build_node_status(snapshot, fault, 1, [], NOW)["conditions"]


@ANYTHING
@given(manifest=agents())
def test_any_agent(manifest: dict[str, Any]) -> None:
    agent = Resource(names.AGENT, make_meta(manifest["metadata"]["name"]), manifest.get("spec") or {}, {}, {})
    snapshot = make_agent_snapshot(agent)
    fault = check_agent(snapshot)
    if fault is None:
        node = Resource(names.AGENT_NODE, make_meta(), {}, {}, {})
        assert write_assignments(build_assignments(node, [agent]))
    assert build_agent_status(snapshot, fault, {}, NOW)["conditions"]
