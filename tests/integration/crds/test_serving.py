"""How the API server serves both kinds: defaults, scale, columns, selection, explanations, status."""

import json
from typing import Any

import pytest
import yaml

from switchboard.resources import Agent, AgentNode
from switchboard_wire.names import API_VERSION

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("crds")]

NODE = {"apiVersion": API_VERSION, "kind": "AgentNode", "metadata": {"name": "writers"}}
AGENT: dict[str, Any] = {
    "apiVersion": API_VERSION,
    "kind": "Agent",
    "metadata": {"name": "summarizer"},
    "spec": {"type": "shortener", "nodeRef": {"name": "writers"}},
}
INLINE = {**AGENT, "metadata": {"name": "chat"}, "spec": {"node": {"autoscaling": {}}, "retries": {"attempts": 2}}}
NOW = "2026-11-21T12:00:00Z"


@pytest.mark.parametrize("manifest", [NODE, AGENT, INLINE], ids=["pool", "agent", "agent with a pool"])
def test_the_api_server_fills_in_the_models_defaults(manifest, kubectl, namespace) -> None:
    model = AgentNode if manifest["kind"] == "AgentNode" else Agent

    stored = json.loads(kubectl.run("create", "-n", namespace, "-o", "json", "-f", "-", stdin=manifest))

    assert stored["spec"] == model.from_wire(manifest).to_wire()["spec"]


def test_a_pool_is_scaled_as_a_deployment_is(kubectl, namespace) -> None:
    kubectl.run("create", "-n", namespace, "-f", "-", stdin=NODE)

    kubectl.run("scale", "-n", namespace, "agentnodes/writers", "--replicas=4")

    assert kubectl.run("get", "-n", namespace, "sbn", "writers", "-o", "jsonpath={.spec.replicas}") == "4"


def test_agents_are_selected_by_their_pool_and_their_type(kubectl, namespace) -> None:
    kubectl.run("create", "-n", namespace, "-f", "-", stdin=AGENT)
    kubectl.run("create", "-n", namespace, "-f", "-", stdin=INLINE)

    for selector in ("spec.nodeRef.name=writers", "spec.type=shortener"):
        found = kubectl.run("get", "-n", namespace, "sba", "-o", "name", "--field-selector", selector)
        assert found == "agent.switchboard.dev/summarizer\n"


def test_columns_tell_the_state_within_eighty_characters(kubectl, namespace) -> None:
    kubectl.run("create", "-n", namespace, "-f", "-", stdin=NODE)
    kubectl.run("create", "-n", namespace, "-f", "-", stdin=AGENT)
    ready = {"type": "Ready", "status": "True", "reason": "AllInstancesUp", "lastTransitionTime": NOW}
    pool = {"conditions": [ready], "replicas": 1, "counts": {"up": 1}, "agents": 1}
    agent = {"conditions": [ready], "type": "shortener", "node": "writers", "instances": 1, "readyInstances": 1}
    for name, status in (("sbn/writers", pool), ("sba/summarizer", agent)):
        patch = json.dumps({"status": status})
        kubectl.run("patch", "-n", namespace, name, "--subresource=status", "--type=merge", "-p", patch)

    pools = kubectl.run("get", "-n", namespace, "agentnodes").splitlines()
    agents = kubectl.run("get", "-n", namespace, "agents.switchboard.dev").splitlines()

    assert pools[0].split() == ["NAME", "READY", "DESIRED", "PODS", "UP", "AGENTS", "AGE"]
    assert pools[1].split()[:-1] == ["writers", "True", "1", "1", "1", "1"]
    assert agents[0].split() == ["NAME", "TYPE", "NODE", "READY", "UP", "OF", "AGE"]
    assert agents[1].split()[:-1] == ["summarizer", "shortener", "writers", "True", "1", "1"]
    both = kubectl.run("get", "-n", namespace, "agentnodes,agents.switchboard.dev").splitlines()
    assert max(map(len, both)) <= 80
    assert "AllInstancesUp" in kubectl.run("get", "-n", namespace, "sbn", "-o", "wide")
    kubectl.run("wait", "-n", namespace, "--for=condition=Ready", "--timeout=60s", "sbn/writers")
    assert "writers" in kubectl.run("get", "-n", namespace, "switchboard", "-o", "name")


def test_a_full_status_is_stored_as_the_models_write_it(kubectl, namespace) -> None:
    kubectl.run("create", "-n", namespace, "-f", "-", stdin=NODE)
    starting = {"type": "Ready", "status": "False", "reason": "Starting", "message": "m", "lastTransitionTime": NOW}
    status = AgentNode.from_wire(
        {
            **NODE,
            "status": {
                "observedGeneration": 1,
                "conditions": [starting],
                "replicas": 1,
                "readyReplicas": 1,
                "selector": "switchboard.dev/agentnode=writers",
                "agents": 1,
                "counts": {"starting": 1},
                "instances": [
                    {
                        "name": "writers-1",
                        "podUID": "2f0c",
                        "address": "10.0.0.7",
                        "zone": "zone-a",
                        "nodeName": "node-a",
                        "state": "Starting",
                        "since": NOW,
                        "activity": "Busy",
                        "agents": [{"name": "summarizer", "state": "Failed", "message": "no module named app"}],
                        "version": "0.1.0",
                    }
                ],
                "truncated": True,
            },
        }
    ).to_wire()["status"]

    patch = ("--subresource=status", "--type=merge", "-p", json.dumps({"status": status}))
    stored = yaml.safe_load(kubectl.run("patch", "-n", namespace, "sbn/writers", *patch, "-o", "yaml"))

    assert stored["status"] == status


@pytest.mark.parametrize(
    ("field", "words"),
    [
        ("agentnodes", "A pool of identical worker pods that host agents"),
        ("agentnodes.spec.autoscaling.maxReplicas", "Most instances. From 1 to 5000. Defaults to 10."),
        ("agentnodes.spec.template.spec.containers.lifecycle.preStop", "Refused on agent"),
        ("agents.spec.handler.python.entry", "What to import: module:attribute, for example app:summarize."),
        ("agents.spec.loadBalancing.strategy", "How to choose among the instances that can serve"),
        ("agents.status.conditions.reason", "Why, as one CamelCase word"),
    ],
)
def test_explanations_reach_the_user(field, words, kubectl) -> None:
    explained = kubectl.run("explain", "--api-version", API_VERSION, field)

    assert words in " ".join(explained.split())
