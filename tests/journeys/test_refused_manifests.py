"""Manifests that the API server refuses where they enter, with the field and the remedy."""

import pytest
from live.kubectl import AGENT_NODES
from pools import agent, agent_node, echo_pool


def edited(made, **spec):
    return made | {"spec": made["spec"] | spec}


def pod(container=None, **rest):
    return {"spec": {"containers": [{"name": "agent", **(container or {})}], **rest}}


REFUSED = {
    "both of nodeRef and node": (
        edited(agent("", "a", "n"), node={"replicas": 1}),
        ["nodeRef", "node"],
    ),
    "minReplicas above maxReplicas": (
        edited(agent_node("", "n"), autoscaling={"minReplicas": 5, "maxReplicas": 2}),
        ["autoscaling.minReplicas must not be above autoscaling.maxReplicas", "lower the one or raise the other"],
    ),
    "a type that is no DNS label": (
        edited(agent("", "a", "n"), type="Not_A_Label"),
        ["type", "lower-case letters, digits and '-'"],
    ),
    "a reserved type": (edited(agent("", "a", "n"), type="tasks"), ["type", "reserved"]),
    "a reserved container name": (
        edited(agent_node("", "n"), template={"spec": {"containers": [{"name": "switchboard-sidecar"}]}}),
        ["containers", "switchboard-"],
    ),
    "a preStop of the user's on container agent": (
        edited(agent_node("", "n"), template=pod({"lifecycle": {"preStop": {"sleep": {"seconds": 1}}}})),
        ["preStop", "drain"],
    ),
    "an entry that is none": (
        edited(agent("", "a", "n"), handler={"python": {"entry": "app"}}),
        ["handler.python.entry", "module:attribute"],
    ),
    "two handlers": (
        edited(agent("", "a", "n"), handler={"python": {"entry": "a:b"}, "http": {"port": 80}}),
        ["python and http exclude each other"],
    ),
    "a name that is too long for the pods": (agent_node("", "n" * 53), ["at most 52"]),
    "a field that does not exist": (edited(agent_node("", "n"), replica=3), ["replica"]),
}


@pytest.mark.parametrize("case", list(REFUSED))
def test_a_manifest_is_refused_with_field_and_remedy(case, kubectl, release):
    manifest, words = REFUSED[case]
    manifest = manifest | {"metadata": {"name": manifest["metadata"]["name"], "namespace": "default"}}

    done = kubectl.try_run("apply", "--dry-run=server", "--validate=strict", "-f", "-", stdin=manifest)

    assert done.returncode != 0, done.stdout
    assert [word for word in words if word not in done.stderr] == [], done.stderr


def test_a_template_that_the_api_server_refuses_is_told_in_a_condition(journey):
    broken = {"spec": {"containers": [{"name": "agent", "ports": [{"containerPort": 8000, "name": "a_b"}]}]}}
    map_, node, bound = echo_pool(journey.namespace)
    journey.apply(map_, edited(node, template=broken), bound)

    message = journey.await_reason(AGENT_NODES, "echo", "Accepted", "InvalidTemplate")

    assert "ports" in message
    journey.apply(node)
    journey.await_ready(nodes=("echo",), agents=("echo",))
