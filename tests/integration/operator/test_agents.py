"""Agents: bound by reference, selector or an inline AgentNode; conflicts; what is missing and appears."""

import pytest
from operator_process import StartOperator, absent, agent, agent_node, condition, eventually

from switchboard_kube import AGENT_NODES, AGENTS, CONFIG_MAPS, DEPLOYMENTS, Json, Kube
from switchboard_operator.assignments import read_assignments
from switchboard_operator.objects import read_resource

pytestmark = pytest.mark.integration


async def assigned(kube: Kube, namespace: str, node: str = "writers") -> list[str]:
    """The Agents that the sidecars of an AgentNode are told to host."""
    held = await kube.get(CONFIG_MAPS, f"{node}-assignments", namespace)
    assignments = read_assignments(read_resource("ConfigMap", held))
    return [item.name for item in assignments.agents] if assignments else []


async def test_a_missing_agentnode_is_told_and_healed_when_it_appears(
    kube: Kube, namespace: str, start_operator: StartOperator
) -> None:
    start_operator()
    await kube.create(AGENTS, agent(namespace, "summarizer", nodeRef={"name": "writers"}))
    held = await eventually(
        lambda: kube.get(AGENTS, "summarizer", namespace), lambda held: bool(condition(held, "ResolvedRefs"))
    )
    assert condition(held, "ResolvedRefs")["reason"] == "NodeNotFound"
    assert "writers" in condition(held, "ResolvedRefs")["message"]

    await kube.create(AGENT_NODES, agent_node(namespace))
    await eventually(
        lambda: kube.get(AGENTS, "summarizer", namespace),
        lambda held: condition(held, "ResolvedRefs").get("status") == "True",
    )
    await eventually(lambda: assigned(kube, namespace), lambda found: found == ["summarizer"])
    await kube.delete(AGENT_NODES, "writers", namespace)
    await eventually(
        lambda: kube.get(AGENTS, "summarizer", namespace),
        lambda held: condition(held, "ResolvedRefs").get("status") == "False",
    )


async def test_the_oldest_of_two_agents_of_one_type_and_version_wins(
    kube: Kube, namespace: str, start_operator: StartOperator
) -> None:
    start_operator()
    reference = {"name": "writers"}
    await kube.create(AGENT_NODES, agent_node(namespace))
    await kube.create(AGENTS, agent(namespace, "first", type="chat", nodeRef=reference))
    await eventually(lambda: assigned(kube, namespace), lambda found: found == ["first"])
    await kube.create(AGENTS, agent(namespace, "second", type="chat", nodeRef=reference))
    await kube.create(AGENTS, agent(namespace, "third", type="chat", version="2.0.0", nodeRef=reference))

    held = await eventually(
        lambda: kube.get(AGENTS, "second", namespace), lambda held: bool(condition(held, "Accepted"))
    )
    assert (condition(held, "Accepted")["status"], condition(held, "Accepted")["reason"]) == (
        "False",
        "AgentIdConflict",
    )
    await eventually(lambda: assigned(kube, namespace), lambda found: found == ["first", "third"])
    await kube.delete(AGENTS, "first", namespace)
    await eventually(
        lambda: kube.get(AGENTS, "second", namespace),
        lambda held: condition(held, "Accepted").get("status") == "True",
        "acceptance once the older one is gone",
    )
    await eventually(lambda: assigned(kube, namespace), lambda found: found == ["second", "third"])


async def test_a_selector_finds_agentnodes_as_their_labels_change(
    kube: Kube, namespace: str, start_operator: StartOperator
) -> None:
    start_operator()
    for name in ("one", "two"):
        await kube.create(AGENT_NODES, agent_node(namespace, name))
    await kube.create(AGENTS, agent(namespace, "chat", nodeSelector={"matchLabels": {"pool": "fast"}}))
    held = await eventually(
        lambda: kube.get(AGENTS, "chat", namespace), lambda held: bool(condition(held, "ResolvedRefs"))
    )
    assert condition(held, "ResolvedRefs")["reason"] == "NoMatchingNodes"
    for name in ("one", "two"):
        await kube.patch(AGENT_NODES, name, namespace, {"metadata": {"labels": {"pool": "fast"}}})
    await eventually(lambda: assigned(kube, namespace, "two"), lambda found: found == ["chat"])
    held = await eventually(
        lambda: kube.get(AGENTS, "chat", namespace), lambda held: held["status"].get("nodes") == ["one", "two"]
    )
    assert held["status"]["node"] == "one +1"
    await kube.patch(AGENT_NODES, "one", namespace, {"metadata": {"labels": {"pool": None}}})
    await eventually(lambda: assigned(kube, namespace, "one"), lambda found: found == [], "the end of the assignment")


async def test_a_moved_agent_leaves_its_former_agentnode(
    kube: Kube, namespace: str, start_operator: StartOperator
) -> None:
    start_operator()
    for name in ("one", "two"):
        await kube.create(AGENT_NODES, agent_node(namespace, name))
    await kube.create(AGENTS, agent(namespace, "chat", nodeRef={"name": "one"}))
    await eventually(lambda: assigned(kube, namespace, "one"), lambda found: found == ["chat"])
    await kube.patch(AGENTS, "chat", namespace, {"spec": {"nodeRef": {"name": "two"}}})
    await eventually(lambda: assigned(kube, namespace, "two"), lambda found: found == ["chat"])
    await eventually(lambda: assigned(kube, namespace, "one"), lambda found: found == [])


async def test_an_inline_node_becomes_an_agentnode_of_the_agents_own(
    kube: Kube, namespace: str, start_operator: StartOperator
) -> None:
    start_operator()
    made = await kube.create(AGENTS, agent(namespace, "chat", node={"replicas": 2, "concurrency": 8}))
    node = await eventually(lambda: kube.get(AGENT_NODES, "chat", namespace))
    assert node["metadata"]["ownerReferences"][0]["uid"] == made["metadata"]["uid"]
    assert (node["spec"]["replicas"], node["spec"]["concurrency"]) == (2, 8)
    await eventually(lambda: assigned(kube, namespace, "chat"), lambda found: found == ["chat"])

    await kube.patch(AGENTS, "chat", namespace, {"spec": {"node": {"replicas": 3}}})
    await eventually(lambda: kube.get(DEPLOYMENTS, "chat", namespace), lambda held: held["spec"]["replicas"] == 3)
    await kube.delete(AGENTS, "chat", namespace)
    await eventually(lambda: absent(kube, DEPLOYMENTS, "chat", namespace), what="all gone")


async def test_an_inline_node_does_not_take_an_agentnode_of_its_name(
    kube: Kube, namespace: str, start_operator: StartOperator
) -> None:
    start_operator()
    theirs = await kube.create(AGENT_NODES, agent_node(namespace, "chat", replicas=1))
    await eventually(lambda: kube.get(DEPLOYMENTS, "chat", namespace))
    await kube.create(AGENTS, agent(namespace, "chat", node={"replicas": 7}))
    held: Json = await eventually(
        lambda: kube.get(AGENTS, "chat", namespace), lambda held: bool(condition(held, "Accepted"))
    )
    assert condition(held, "Accepted")["reason"] == "NameConflict"
    node = await kube.get(AGENT_NODES, "chat", namespace)
    assert node["metadata"]["generation"] == theirs["metadata"]["generation"]
    assert await assigned(kube, namespace, "chat") == []
