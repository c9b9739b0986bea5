"""Manifests are read as the API server reads them, and written so that it stores them unchanged."""

from typing import Any

import pytest
from pydantic import ValidationError

from switchboard.resources import Agent, AgentNode, AgentNodeSpec, Autoscaling, LocalReference, explain_faults
from switchboard_wire import names


def make_agent(**spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": "summarizer"}, "spec": {"nodeRef": {"name": "writers"}, **spec}}


def make_node(**spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": "writers"}, "spec": spec}


def test_the_kinds_are_those_of_the_names() -> None:
    agent, node = Agent.from_wire(make_agent()), AgentNode.from_wire(make_node())

    assert (agent.api_version, agent.kind) == (names.API_VERSION, names.AGENT)
    assert (node.api_version, node.kind) == (names.API_VERSION, names.AGENT_NODE)


def test_names_of_ours_in_a_pod_are_reserved_by_their_prefix() -> None:
    ours = names.RESERVED_CONTAINERS | names.RESERVED_VOLUMES

    assert {name for name in ours if not name.startswith(names.RESERVED_PREFIX)} == set()


def test_the_type_of_an_agent_is_its_name_unless_it_says_another() -> None:
    assert Agent.from_wire(make_agent()).type == "summarizer"
    assert Agent.from_wire(make_agent(type="shortener")).type == "shortener"


def test_nothing_need_be_said_about_a_pool() -> None:
    spec = AgentNode.from_wire({"metadata": {"name": "writers"}}).spec

    assert (spec.replicas, spec.concurrency, spec.queue_length, spec.drain_seconds) == (1, 16, 100, 30)
    assert spec.autoscaling is None


def test_the_contracts_defaults_of_an_agent() -> None:
    spec = Agent.from_wire(make_agent()).spec

    assert (spec.timeout_seconds, spec.weight, spec.concurrency, spec.max_payload_bytes) == (30, 100, None, 4194304)
    assert (spec.load_balancing.strategy, spec.load_balancing.key_affinity) == ("LeastConnections", "Preferred")
    assert (spec.retries.attempts, spec.retries.initial_backoff_ms, spec.retries.max_backoff_ms) == (3, 50, 4000)
    assert spec.retries.idempotent is False
    breaker = spec.circuit_breaker
    assert (breaker.consecutive_failures, breaker.open_seconds, breaker.successes_to_close) == (5, 30, 3)


def test_null_is_absent_where_a_field_is_known_and_data_where_it_is_not() -> None:
    agent = Agent.from_wire(
        make_agent(type=None, timeoutSeconds=None, handler={"python": {"entry": "app:run", "config": {"seed": None}}})
    )

    assert agent.spec.type is None
    assert agent.spec.timeout_seconds == 30
    assert agent.to_wire()["spec"]["handler"]["python"]["config"] == {"seed": None}


def test_the_untyped_rest_of_a_template_is_kept_as_it_is() -> None:
    template = {
        "metadata": {"labels": {"team": "a"}, "finalizers": ["x"]},
        "spec": {
            "containers": [{"name": "agent", "env": [{"name": "A", "value": None}], "securityContext": {}}],
            "volumes": [{"name": "scratch", "emptyDir": {}}],
            "tolerations": [{"operator": "Exists"}],
        },
    }

    assert AgentNode.from_wire(make_node(template=template)).to_wire()["spec"]["template"] == template


def test_an_unknown_field_is_refused_in_a_file_and_dropped_in_what_was_admitted() -> None:
    newer = make_node(replicas=3, heartbeat={"intervalSeconds": 1, "jitter": 2}, colour="blue")

    with pytest.raises(ValidationError) as refused:
        AgentNode.from_wire(newer)
    assert explain_faults(refused.value) == (
        "spec.heartbeat.jitter: Extra inputs are not permitted",
        "spec.colour: Extra inputs are not permitted",
    )
    admitted = AgentNode.from_wire(newer, prune=True)
    assert (admitted.spec.replicas, admitted.spec.heartbeat.interval_seconds) == (3, 1)
    assert "colour" not in admitted.to_wire()["spec"]


def test_pruning_leaves_the_untyped_rest_of_a_template_alone() -> None:
    node = AgentNode.from_wire(make_node(template={"spec": {"hostAliases": [{"ip": "10.0.0.1"}]}}), prune=True)

    assert node.to_wire()["spec"]["template"] == {"spec": {"hostAliases": [{"ip": "10.0.0.1"}]}}


@pytest.mark.parametrize(
    ("spec", "fault"),
    [
        ({"replicas": "3"}, "spec.replicas: Input should be a valid integer"),
        ({"replicas": True}, "spec.replicas: Input should be a valid integer"),
        ({"queue_length": 3}, "spec.queue_length: Extra inputs are not permitted"),
        ({"template": {"spec": {"containers": [{}]}}}, "spec.template.spec.containers[0].name: Field required"),
        ({"autoscaling": {"minReplicas": 11}}, "spec.autoscaling: autoscaling.minReplicas must not be above"),
    ],
    ids=[
        "text is no number",
        "a boolean is no number",
        "the Python name of a field is none in a manifest",
        "a path tells the item",
        "a rule tells field and remedy",
    ],
)
def test_faults_begin_with_the_field(spec, fault) -> None:
    with pytest.raises(ValidationError) as refused:
        AgentNode.from_wire(make_node(**spec))

    assert [line for line in explain_faults(refused.value) if line.startswith(fault)]


def test_whole_numbers_may_be_written_with_a_point() -> None:
    assert AgentNode.from_wire(make_node(drainSeconds=30.0)).spec.drain_seconds == 30


def test_code_builds_models_by_python_names() -> None:
    spec = AgentNodeSpec(queue_length=5, autoscaling=Autoscaling(min_replicas=1))

    assert spec.to_wire()["queueLength"] == 5
    assert spec.to_wire()["autoscaling"] == {
        "minReplicas": 1,
        "maxReplicas": 10,
        "idleSeconds": 300,
        "cpuUtilization": 70,
        "memoryUtilization": 80,
    }


def test_models_cannot_be_changed() -> None:
    reference = LocalReference(name="writers")

    with pytest.raises(ValidationError, match="frozen"):
        reference.name = "readers"  # type: ignore[misc]
