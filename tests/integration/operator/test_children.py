"""From an applied AgentNode to its children and its status, through a real API server."""

import asyncio

import pytest
from operator_process import (
    StartOperator,
    absent,
    agent,
    agent_node,
    condition,
    eventually,
)

from switchboard_kube import (
    AGENT_NODES,
    AGENTS,
    CONFIG_MAPS,
    DEPLOYMENTS,
    DISRUPTION_BUDGETS,
    EVENTS,
    HORIZONTAL_AUTOSCALERS,
    SERVICE_ACCOUNTS,
    SERVICES,
    EventType,
    Json,
    Kube,
    Selector,
)
from switchboard_operator.assignments import read_assignments
from switchboard_operator.objects import read_resource

pytestmark = pytest.mark.integration

# Longer than any write of a status is held back
QUIET_S = 6.0


async def test_an_agentnode_gets_its_children_and_its_agent_is_assigned(
    kube: Kube, namespace: str, start_operator: StartOperator
) -> None:
    start_operator()
    await kube.create(AGENT_NODES, agent_node(namespace, replicas=2))
    await kube.create(AGENTS, agent(namespace, "summarizer", nodeRef={"name": "writers"}))

    deployment = await eventually(lambda: kube.get(DEPLOYMENTS, "writers", namespace))
    node = await kube.get(AGENT_NODES, "writers", namespace)
    owner = deployment["metadata"]["ownerReferences"][0]
    assert (owner["uid"], owner["controller"]) == (node["metadata"]["uid"], True)
    assert deployment["spec"]["replicas"] == 2
    for resource in (SERVICES, SERVICE_ACCOUNTS, DISRUPTION_BUDGETS):
        assert (await kube.get(resource, "writers", namespace))["metadata"]["ownerReferences"][0]["uid"] == owner["uid"]

    async def assigned() -> list[str]:
        held = await kube.get(CONFIG_MAPS, "writers-assignments", namespace)
        assignments = read_assignments(read_resource("ConfigMap", held))
        return [item.name for item in assignments.agents] if assignments else []

    await eventually(assigned, lambda found: found == ["summarizer"], "the assignment")
    summarizer = await eventually(
        lambda: kube.get(AGENTS, "summarizer", namespace), lambda held: bool(condition(held, "Ready"))
    )
    assert condition(summarizer, "ResolvedRefs")["status"] == "True"
    assert condition(summarizer, "Ready")["reason"] == "NoReadyInstance"


async def test_an_edit_reaches_the_pods_and_a_foreign_change_is_undone(
    kube: Kube, namespace: str, start_operator: StartOperator
) -> None:
    start_operator()
    await kube.create(AGENT_NODES, agent_node(namespace, replicas=1))
    await eventually(lambda: kube.get(DEPLOYMENTS, "writers", namespace))

    template = {"spec": {"containers": [{"name": "agent", "image": "mine:2"}]}}
    await kube.patch(AGENT_NODES, "writers", namespace, {"spec": {"template": template, "replicas": 3}})
    await eventually(
        lambda: kube.get(DEPLOYMENTS, "writers", namespace),
        lambda held: held["spec"]["replicas"] == 3 and _image(held) == "mine:2",
        "the edit",
    )
    await kube.patch(DEPLOYMENTS, "writers", namespace, {"spec": {"replicas": 9}})
    await kube.patch(SERVICES, "writers", namespace, {"spec": {"publishNotReadyAddresses": True}})
    await eventually(
        lambda: kube.get(DEPLOYMENTS, "writers", namespace), lambda held: held["spec"]["replicas"] == 3, "the repair"
    )
    await eventually(
        lambda: kube.get(SERVICES, "writers", namespace),
        lambda held: not held["spec"].get("publishNotReadyAddresses"),
        "the repair of the Service",
    )
    await kube.delete(DEPLOYMENTS, "writers", namespace)
    await eventually(lambda: kube.get(DEPLOYMENTS, "writers", namespace), what="the Deployment, made again")


def _image(deployment: Json) -> str:
    image: str = deployment["spec"]["template"]["spec"]["containers"][0]["image"]
    return image


async def test_nothing_is_written_when_nothing_changes(
    kube: Kube, namespace: str, start_operator: StartOperator
) -> None:
    first = start_operator()
    await kube.create(AGENT_NODES, agent_node(namespace, replicas=1, autoscaling={"minReplicas": 1, "maxReplicas": 3}))
    await kube.create(AGENTS, agent(namespace, "summarizer", nodeRef={"name": "writers"}))
    await eventually(
        lambda: kube.get(AGENTS, "summarizer", namespace), lambda held: bool(condition(held, "Ready")), "its status"
    )
    await eventually(lambda: kube.get(HORIZONTAL_AUTOSCALERS, "writers", namespace))

    async def settled() -> bool:
        before = await _versions(kube, namespace)
        await asyncio.sleep(QUIET_S)
        return before == await _versions(kube, namespace)

    await eventually(settled, what="quiet")
    assert first.stop() == 0
    before = await _versions(kube, namespace)
    second = start_operator("operator-b")
    await eventually(lambda: asyncio.to_thread(second.log), lambda text: "leads now" in text)
    assert await eventually(settled, what="quiet after a restart")
    assert await _versions(kube, namespace) == before


async def _versions(kube: Kube, namespace: str) -> dict[str, str]:
    kinds = (AGENT_NODES, AGENTS, DEPLOYMENTS, SERVICES, SERVICE_ACCOUNTS, CONFIG_MAPS, DISRUPTION_BUDGETS)
    listings = [await kube.list(kind, Selector(namespace)) for kind in kinds]
    items = [item for listing in listings for item in listing.items]
    return {f"{item['kind']}/{item['metadata']['name']}": item["metadata"]["resourceVersion"] for item in items}


async def test_an_object_of_somebody_else_is_not_touched(
    kube: Kube, namespace: str, start_operator: StartOperator
) -> None:
    start_operator()
    theirs = {"metadata": {"name": "writers", "namespace": namespace}, "spec": {"ports": [{"port": 80}]}}
    made = await kube.create(SERVICES, theirs)
    await kube.create(AGENT_NODES, agent_node(namespace, replicas=1))
    node = await eventually(
        lambda: kube.get(AGENT_NODES, "writers", namespace),
        lambda held: condition(held, "Accepted").get("status") == "False",
    )
    accepted = condition(node, "Accepted")
    assert accepted["reason"] == "NameConflict"
    assert "Service writers" in accepted["message"]
    held = await kube.get(SERVICES, "writers", namespace)
    assert held["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]

    await kube.delete(SERVICES, "writers", namespace)
    await eventually(
        lambda: kube.get(AGENT_NODES, "writers", namespace),
        lambda held: condition(held, "Accepted").get("status") == "True",
        "acceptance once the name is free",
    )


async def test_a_template_that_the_api_server_refuses_is_told_with_its_words(
    kube: Kube, namespace: str, start_operator: StartOperator
) -> None:
    start_operator()
    await kube.create(AGENT_NODES, agent_node(namespace, template={"spec": {"dnsPolicy": "Nonsense"}}))
    node = await eventually(
        lambda: kube.get(AGENT_NODES, "writers", namespace),
        lambda held: condition(held, "Accepted").get("status") == "False",
    )
    accepted = condition(node, "Accepted")
    assert accepted["reason"] == "InvalidTemplate"
    assert "dnsPolicy" in accepted["message"]
    await eventually(
        lambda: kube.list(EVENTS, Selector(namespace)),
        lambda posted: ("Warning", "InvalidTemplate") in {(event["type"], event["reason"]) for event in posted.items},
        "the event",
    )

    await kube.patch(AGENT_NODES, "writers", namespace, {"spec": {"template": {"spec": {"dnsPolicy": None}}}})
    await eventually(lambda: kube.get(DEPLOYMENTS, "writers", namespace), what="the Deployment once corrected")
    await eventually(
        lambda: kube.get(AGENT_NODES, "writers", namespace),
        lambda held: condition(held, "Accepted").get("status") == "True",
    )


async def test_a_field_that_no_deployment_has_is_told_as_an_invalid_template(
    kube: Kube, namespace: str, start_operator: StartOperator
) -> None:
    start_operator()
    await kube.create(AGENT_NODES, agent_node(namespace, template={"spec": {"noSuchField": 1}}))
    node = await eventually(
        lambda: kube.get(AGENT_NODES, "writers", namespace),
        lambda held: condition(held, "Accepted").get("status") == "False",
    )
    assert condition(node, "Accepted")["reason"] == "InvalidTemplate"
    assert "noSuchField" in condition(node, "Accepted")["message"]


async def test_a_paused_agentnode_is_left_as_it_is(kube: Kube, namespace: str, start_operator: StartOperator) -> None:
    start_operator()
    await kube.create(AGENT_NODES, agent_node(namespace, replicas=1))
    await eventually(lambda: kube.get(DEPLOYMENTS, "writers", namespace))
    paused = {"metadata": {"annotations": {"switchboard.dev/paused": "true"}}, "spec": {"replicas": 5}}
    await kube.patch(AGENT_NODES, "writers", namespace, paused)
    await eventually(
        lambda: kube.get(AGENT_NODES, "writers", namespace),
        lambda held: condition(held, "Progressing").get("reason") == "Paused",
    )
    assert (await kube.get(DEPLOYMENTS, "writers", namespace))["spec"]["replicas"] == 1

    await kube.patch(AGENT_NODES, "writers", namespace, {"metadata": {"annotations": {"switchboard.dev/paused": None}}})
    await eventually(
        lambda: kube.get(DEPLOYMENTS, "writers", namespace), lambda held: held["spec"]["replicas"] == 5, "the edit"
    )


async def test_autoscaling_on_and_off_never_shows_a_number_that_nobody_asked_for(
    kube: Kube, namespace: str, start_operator: StartOperator
) -> None:
    start_operator()
    await kube.create(AGENT_NODES, agent_node(namespace, replicas=4))
    await eventually(lambda: kube.get(DEPLOYMENTS, "writers", namespace), lambda held: held["spec"]["replicas"] == 4)
    seen: list[int] = []
    watcher = asyncio.create_task(_note_replicas(kube, namespace, seen))

    async def newest() -> int:
        return seen[-1] if seen else 0

    try:
        await eventually(newest, lambda replicas: replicas == 4, "the watcher")
        # As `kubectl apply` does when the user takes `replicas` out of the file
        on = {"spec": {"replicas": None, "autoscaling": {"minReplicas": 2, "maxReplicas": 6}}}
        await kube.patch(AGENT_NODES, "writers", namespace, on)
        await eventually(lambda: kube.get(HORIZONTAL_AUTOSCALERS, "writers", namespace))
        await eventually(
            lambda: kube.get(AGENT_NODES, "writers", namespace), lambda held: held["spec"]["replicas"] == 4, "the scale"
        )
        await kube.patch(AGENT_NODES, "writers", namespace, {"spec": {"replicas": 5}}, subresource="scale")
        await eventually(lambda: kube.get(DEPLOYMENTS, "writers", namespace), lambda h: h["spec"]["replicas"] == 5)
        await kube.patch(AGENT_NODES, "writers", namespace, {"spec": {"autoscaling": None}})
        await eventually(lambda: absent(kube, HORIZONTAL_AUTOSCALERS, "writers", namespace))
        await kube.patch(AGENT_NODES, "writers", namespace, {"spec": {"replicas": 3}}, subresource="scale")
        await eventually(newest, lambda replicas: replicas == 3, "the last edit")
    finally:
        watcher.cancel()
        await asyncio.gather(watcher, return_exceptions=True)
    assert list(dict.fromkeys(seen)) == [4, 5, 3]


async def _note_replicas(kube: Kube, namespace: str, seen: list[int]) -> None:
    async for event in kube.watch(DEPLOYMENTS, Selector(namespace)):
        if event.type is EventType.APPLIED:
            seen.append(event.object["spec"]["replicas"])


async def test_no_replicas_is_ready(kube: Kube, namespace: str, start_operator: StartOperator) -> None:
    start_operator()
    await kube.create(AGENT_NODES, agent_node(namespace, replicas=0))
    await kube.create(AGENTS, agent(namespace, "summarizer", nodeRef={"name": "writers"}))
    for resource, name in ((AGENT_NODES, "writers"), (AGENTS, "summarizer")):
        held = await eventually(
            lambda resource=resource, name=name: kube.get(resource, name, namespace),
            lambda held: condition(held, "Ready").get("status") == "True",
            f"{name} ready",
        )
        assert condition(held, "Ready")["reason"] == "ScaledToZero"


async def test_a_deleted_agentnode_takes_its_children_along_and_its_name_can_be_used_again(
    kube: Kube, namespace: str, start_operator: StartOperator
) -> None:
    start_operator()
    await kube.create(AGENT_NODES, agent_node(namespace, replicas=1))
    await eventually(lambda: kube.get(DEPLOYMENTS, "writers", namespace))
    await kube.delete(AGENT_NODES, "writers", namespace)
    again = await kube.create(AGENT_NODES, agent_node(namespace, replicas=2))

    async def owned_anew() -> set[str]:
        held = [
            await kube.get(resource, name, namespace)
            for resource, name in (
                (DEPLOYMENTS, "writers"),
                (CONFIG_MAPS, "writers-assignments"),
                (SERVICES, "writers"),
            )
        ]
        return {item["metadata"]["ownerReferences"][0]["uid"] for item in held}

    await eventually(owned_anew, lambda owners: owners == {again["metadata"]["uid"]}, "children of the new one")
    await kube.delete(AGENT_NODES, "writers", namespace)
    await eventually(lambda: absent(kube, DEPLOYMENTS, "writers", namespace), what="all gone")
