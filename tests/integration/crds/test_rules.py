"""Every rule refuses a manifest that breaks it alone, with its own message; the models say the same."""

import copy
from typing import Any

import pytest
from crdgen.crd import KINDS, root_schema
from pydantic import ValidationError

from switchboard.resources import Agent, AgentNode, Model, explain_faults
from switchboard_wire.names import AGENT, AGENT_NODE, API_VERSION

pytestmark = pytest.mark.integration

MODELS: dict[str, type[Model]] = {AGENT: Agent, AGENT_NODE: AgentNode}
LONG = "a" * 53


def make_node(name: str = "writers", **spec: Any) -> dict[str, Any]:
    return {"apiVersion": API_VERSION, "kind": AGENT_NODE, "metadata": {"name": name}, "spec": spec}


def make_agent(name: str = "summarizer", **spec: Any) -> dict[str, Any]:
    if not spec.keys() & {"nodeRef", "nodeSelector", "node"}:
        spec["nodeRef"] = {"name": "writers"}
    return {"apiVersion": API_VERSION, "kind": AGENT, "metadata": {"name": name}, "spec": spec}


def make_pod(**spec: Any) -> dict[str, Any]:
    return make_node(template={"spec": spec})


def select(**expression: Any) -> dict[str, Any]:
    return make_agent(nodeSelector={"matchExpressions": [{"key": "team", **expression}]})


PRE_STOP = {"exec": {"command": ["true"]}}
# id → (manifest, words of the one rule that it breaks)
BROKEN: dict[str, tuple[dict[str, Any], str]] = {
    "a pool's name with a dot": (make_node("writers.eu"), "metadata.name of an AgentNode must be a DNS label"),
    "a pool's name that is too long": (make_node(LONG), "metadata.name of an AgentNode must be a DNS label"),
    "min above max": (
        make_node(autoscaling={"minReplicas": 5, "maxReplicas": 4}),
        "autoscaling.minReplicas must not be above autoscaling.maxReplicas",
    ),
    "min above the default of max": (
        make_node(autoscaling={"minReplicas": 11}),
        "autoscaling.minReplicas must not be above autoscaling.maxReplicas",
    ),
    "no signal to scale on": (
        make_node(autoscaling={"cpuUtilization": 0, "memoryUtilization": 0}),
        "autoscaling has no signal left",
    ),
    "degraded after down": (
        make_node(heartbeat={"missedUntilDegraded": 5}),
        "heartbeat.missedUntilDegraded must be below heartbeat.missedUntilDown",
    ),
    "a reserved container name": (
        make_pod(containers=[{"name": "switchboard-sidecar"}]),
        "template.spec.containers: names that begin with switchboard- are the operator's",
    ),
    "a reserved init container name": (
        make_pod(initContainers=[{"name": "switchboard-init"}]),
        "template.spec.initContainers: names that begin with switchboard- are the operator's",
    ),
    "the host as an init container": (
        make_pod(initContainers=[{"name": "agent"}]),
        "template.spec.initContainers: the name agent is the host's",
    ),
    "a reserved volume name": (
        make_pod(volumes=[{"name": "switchboard-run", "emptyDir": {}}]),
        "template.spec.volumes: names that begin with switchboard- are the operator's",
    ),
    "a preStop on the host": (
        make_pod(containers=[{"name": "agent", "lifecycle": {"preStop": PRE_STOP}}]),
        "template.spec.containers: preStop of container agent is the operator's",
    ),
    "an empty preStop on the host": (
        make_pod(containers=[{"name": "agent", "lifecycle": {"preStop": {}}}]),
        "template.spec.containers: preStop of container agent is the operator's",
    ),
    "the sidecar's port in the template": (
        make_pod(containers=[{"name": "web", "ports": [{"containerPort": 7490}]}]),
        "template.spec.containers: containerPort 7490 is the sidecar's",
    ),
    "a broken template in an inline node": (
        make_agent(node={"template": {"spec": {"containers": [{"name": "switchboard-x"}]}}}),
        "template.spec.containers: names that begin with switchboard- are the operator's",
    ),
    "a name that is no type, and no type": (make_agent("a.b"), "metadata.name is the agent's type when spec.type"),
    "a reserved name, and no type": (make_agent("tasks"), "metadata.name is the agent's type when spec.type"),
    "an inline node under a name with a dot": (
        make_agent("a.b", type="a", node={}),
        "metadata.name of an Agent with an inline spec.node names that AgentNode",
    ),
    "a type in capitals": (make_agent(type="Summarizer"), "type must be a DNS label"),
    "a type that is too long": (make_agent(type=LONG), "type must be a DNS label"),
    "a reserved type": (make_agent(type="tasks"), "reserved: tasks"),
    "a version of two numbers": (make_agent(version="1.0-rc1"), "version must be a semantic version"),
    "no node at all": (
        {**make_agent(), "spec": {}},
        "exactly one of nodeRef, nodeSelector and node must say where the agent runs",
    ),
    "both of nodeRef and node": (
        make_agent(nodeRef={"name": "writers"}, node={}),
        "exactly one of nodeRef, nodeSelector and node must say where the agent runs",
    ),
    "both of nodeRef and nodeSelector": (
        make_agent(nodeRef={"name": "writers"}, nodeSelector={"matchLabels": {"team": "a"}}),
        "exactly one of nodeRef, nodeSelector and node must say where the agent runs",
    ),
    "a try that takes longer than the call": (
        make_agent(timeoutSeconds=10, retries={"perTryTimeoutSeconds": 11}),
        "retries.perTryTimeoutSeconds must not be above timeoutSeconds",
    ),
    "hedging of what must not come twice": (
        make_agent(hedging={"delayMs": 200}),
        "hedging shows a message to two instances, which the handler must bear: set retries.idempotent: true",
    ),
    "hedging after the call's end": (
        make_agent(timeoutSeconds=2, hedging={"delayMs": 2000}, retries={"idempotent": True}),
        "hedging.delayMs must be below timeoutSeconds",
    ),
    "a caller that is nobody's id": (
        make_agent(allowedCallers=["user:jane", "website"]),
        "allowedCallers: write spiffe://",
    ),
    "a caller with half a segment": (
        make_agent(allowedCallers=["spiffe://cluster.local/ns/team-*/sa/bot"]),
        "allowedCallers: write spiffe://",
    ),
    "a caller with a star before the end": (make_agent(allowedCallers=["user:*@example.org"]), "allowedCallers: write"),
    "more at once than the inline node takes": (
        make_agent(concurrency=17, node={}),
        "concurrency must not be above node.concurrency",
    ),
    "an empty selector": (make_agent(nodeSelector={}), "nodeSelector is empty"),
    "In without values": (select(operator="In"), "In and NotIn need values"),
    "Exists with values": (select(operator="Exists", values=["a"]), "Exists and DoesNotExist take none"),
    "a health path with a query": (
        make_agent(handler={"http": {"port": 8000, "healthPath": "/healthz?deep=1"}}),
        "handler.http.healthPath must be an absolute path without query",
    ),
    "two handlers": (
        make_agent(handler={"python": {"entry": "app:run"}, "http": {"port": 8000}}),
        "handler: python and http exclude each other",
    ),
    "an entry without an attribute": (
        make_agent(handler={"python": {"entry": "app.run"}}),
        "handler.python.entry must read module:attribute",
    ),
    "an entry with a newline": (
        make_agent(handler={"python": {"entry": "app:run\n"}}),
        "handler.python.entry must read module:attribute",
    ),
    "a relative path": (
        make_agent(handler={"http": {"port": 8000, "path": "execute"}}),
        "handler.http.path must be an absolute path",
    ),
    "a path with a placeholder that is none": (
        make_agent(handler={"http": {"port": 8000, "path": "/agents/{name}"}}),
        "{agent} is its only placeholder",
    ),
    "the sidecar's port as the handler's": (
        make_agent(handler={"http": {"port": 7490}}),
        "handler.http.port 7490 is the sidecar's",
    ),
    "a capability in capitals": (
        make_agent(capabilities=[{"name": "Summarize"}]),
        "capabilities: name must be lower-case letters",
    ),
    "a capability's version with a leading zero": (
        make_agent(capabilities=[{"name": "summarize", "version": "01.0.0"}]),
        "capabilities: version must be a semantic version",
    ),
    "a header without hashOn": (
        make_agent(loadBalancing={"header": "x-user"}),
        "loadBalancing.header goes with hashOn: Header",
    ),
    "hashOn Header without a header": (
        make_agent(loadBalancing={"hashOn": "Header"}),
        "loadBalancing.header goes with hashOn: Header",
    ),
    "a first pause above the longest": (
        make_agent(retries={"initialBackoffMs": 500, "maxBackoffMs": 400}),
        "retries.initialBackoffMs must not be above retries.maxBackoffMs",
    ),
}
# Refused by the schema itself, whose message names the field and the bound: id → (manifest, words of the API server)
OUT_OF_BOUNDS: dict[str, tuple[dict[str, Any], str]] = {
    "fewer than no replicas": (make_node(replicas=-1), "spec.replicas in body should be greater than or equal to 0"),
    "too many replicas": (make_node(replicas=5001), "spec.replicas in body should be less than or equal to 5000"),
    "text for a number": (make_node(replicas="2"), 'spec.replicas in body must be of type integer: "string"'),
    "a value that is none of the enum": (make_node(spread="Rack"), 'supported values: "Zone", "Node", "None"'),
    "a strategy that does not exist": (make_agent(loadBalancing={"strategy": "Best"}), "supported values"),
    "a field that does not exist": (make_node(replica=2), 'unknown field "spec.replica"'),
    "a ConfigMap's name with capitals": (
        make_node(source={"configMap": "Code"}),
        "spec.source.configMap in body should",
    ),
    "a source of nothing": (make_node(source={}), "spec.source.configMap: Required value"),
    "no port": (make_agent(handler={"http": {}}), "spec.handler.http.port: Required value"),
    "a port beyond the last": (make_agent(handler={"http": {"port": 65536}}), "should be less than or equal to 65535"),
    "two containers of one name": (
        make_pod(containers=[{"name": "web"}, {"name": "web"}]),
        "containers[1]: Duplicate value: ",  # how it writes the value differs by release
    ),
    "one capability twice": (make_agent(capabilities=[{"name": "a"}, {"name": "a"}]), "Duplicate value"),
    "one tag twice": (make_agent(capabilities=[{"name": "a", "tags": ["x", "x"]}]), "Duplicate value"),
    "a quantity that is none": (
        make_pod(containers=[{"name": "agent", "resources": {"requests": {"cpu": "lots"}}}]),
        "spec.template.spec.containers[0].resources.requests.cpu in body should match",
    ),
}


@pytest.mark.parametrize(("manifest", "words"), BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_rule_is_told_by_both(manifest, words, verdict) -> None:
    refusal = verdict(manifest)
    with pytest.raises(ValidationError) as refused:
        MODELS[manifest["kind"]].from_wire(manifest)

    assert refusal is not None
    assert words in refusal
    faults = explain_faults(refused.value)
    assert len(faults) == 1
    assert words in faults[0]


@pytest.mark.parametrize(("manifest", "words"), OUT_OF_BOUNDS.values(), ids=OUT_OF_BOUNDS.keys())
def test_what_is_out_of_bounds_is_refused_by_both(manifest, words, verdict) -> None:
    refusal = verdict(manifest)

    assert refusal is not None
    assert words in refusal
    with pytest.raises(ValidationError):
        MODELS[manifest["kind"]].from_wire(manifest)


@pytest.mark.parametrize("manifest", [make_node(), make_agent()], ids=["AgentNode", "Agent"])
def test_what_the_cases_start_from_is_admitted(manifest, verdict) -> None:
    assert verdict(manifest) is None


def test_every_rule_has_a_manifest_that_breaks_it() -> None:
    told = {words for _, words in BROKEN.values()} | {"spec.type is immutable"}
    untested = [
        rule["message"]
        for kind in KINDS
        for rule in _rules_in(root_schema(kind))
        if not any(words in rule["message"] for words in told)
    ]
    assert untested == []


def _rules_in(schema: Any) -> list[dict[str, str]]:
    if isinstance(schema, list):
        return [rule for item in schema for rule in _rules_in(item)]
    if not isinstance(schema, dict):
        return []
    here = schema.get("x-kubernetes-validations", [])
    return [
        *here,
        *(rule for name, item in schema.items() if name != "x-kubernetes-validations" for rule in _rules_in(item)),
    ]


@pytest.mark.parametrize(
    ("before", "after"),
    [("one", "two"), (None, "other"), ("one", None)],
    ids=["changed", "set to another than the name", "taken away"],
)
def test_the_type_is_immutable(before, after, kubectl, crds, namespace) -> None:
    agent = make_agent("summarizer", **({"type": before} if before else {}))
    kubectl.run("create", "-n", namespace, "-f", "-", stdin=agent)
    changed = copy.deepcopy(agent)
    changed["spec"].pop("type", None)
    if after:
        changed["spec"]["type"] = after

    refused = kubectl.try_run("replace", "-n", namespace, "-f", "-", stdin=changed)

    assert refused.returncode != 0
    assert "spec.type is immutable: delete the Agent and create one of the new type" in refused.stderr


def test_the_type_may_be_spelled_out_later(kubectl, crds, namespace) -> None:
    kubectl.run("create", "-n", namespace, "-f", "-", stdin=make_agent("summarizer"))

    kubectl.run("replace", "-n", namespace, "-f", "-", stdin=make_agent("summarizer", type="summarizer"))
