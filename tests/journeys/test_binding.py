"""Agents and the pools they are placed on: missing, found, contested."""

from live.kubectl import AGENTS
from live.waiting import wait_until
from pools import agent, echo_pool


def test_an_agent_without_its_pool_says_so_and_heals_when_it_appears(journey):
    map_, node, bound = echo_pool(journey.namespace)
    journey.apply(bound)

    message = journey.await_reason(AGENTS, "echo", "ResolvedRefs", "NodeNotFound")

    assert "AgentNode echo does not exist" in message
    assert "create it, or change spec.nodeRef.name" in message
    journey.apply(map_, node)
    journey.await_condition(AGENTS, "echo", "ResolvedRefs")
    journey.await_ready(agents=("echo",))
    assert journey.ask("echo", "healed") == "healed"


def test_of_two_agents_of_one_type_the_older_serves(journey):
    journey.apply(*echo_pool(journey.namespace))
    journey.await_ready(agents=("echo",))

    journey.apply(agent(journey.namespace, "intruder", "echo", type="echo"))

    message = journey.await_reason(AGENTS, "intruder", "Accepted", "AgentIdConflict")
    assert "Agent echo is older" in message
    journey.await_ready(agents=("echo",))
    assert journey.ask("echo", "me") == "me"
    journey.kube("delete", AGENTS, "echo")
    journey.await_ready(agents=("intruder",))
    assert journey.ask("echo", "the type is free") == "the type is free"


def test_an_agent_is_served_by_every_pool_its_selector_finds(journey):
    for name in ("left", "right"):
        map_, node, _ = echo_pool(journey.namespace, name)
        node["metadata"]["labels"] = {"team": "both"}
        journey.apply(map_, node)
    chosen = agent(journey.namespace, "echo", "unused")
    chosen["spec"] = {"handler": chosen["spec"]["handler"], "nodeSelector": {"matchLabels": {"team": "both"}}}
    journey.apply(chosen)
    journey.await_ready(nodes=("left", "right"), agents=("echo",))

    journey.kube("wait", f"{AGENTS}/echo", "--for=jsonpath={.status.readyInstances}=2", "--timeout=120s")

    def nodes() -> set[str]:
        return {found["node"] for found in journey.rest.get("agents/echo/instances").body["instances"]}

    wait_until(lambda: nodes() == {"left", "right"}, "an instance of each pool at the gateway")
