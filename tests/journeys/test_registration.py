"""Agents that only code declares: they answer, are listed and stand in status; what may not be says why."""

from live.kubectl import AGENT_NODES
from live.waiting import NotYet, wait_until
from pools import agent, agent_node, code, echo_pool

CODE = """
from switchboard import agent

@agent
async def lead(text: str) -> str:
    return f"lead: {text}"

@agent
async def extra(text: str) -> str:
    return f"extra: {text}"
"""


def test_an_agent_that_code_registers_answers_until_people_declare_its_type_elsewhere(journey):
    journey.apply(
        code(journey.namespace, "team", app=CODE),
        agent_node(journey.namespace, "team", replicas=1, registration="Dynamic"),
        agent(journey.namespace, "lead", "team", "app:lead"),
    )
    journey.await_ready(nodes=("team",), agents=("lead",))
    await_state(journey, "team", "extra", "Ready")

    assert journey.ask("extra", "hello") == "extra: hello"
    assert {found.name for found in journey.client.agents(namespace=journey.namespace)} == {"lead", "extra"}

    map_, node, bound = echo_pool(journey.namespace, replicas=1)
    bound["spec"]["type"] = "extra"
    journey.apply(map_, node, bound)
    message = await_state(journey, "team", "extra", "Failed")
    journey.await_ready(nodes=("echo",), agents=("echo",))

    assert "declares for another AgentNode" in message
    assert journey.ask("extra", "hello") == "hello", "what people declare comes first"
    assert journey.ask("lead", "hello") == "lead: hello"
    [pod] = journey.pods("team")
    log = journey.kube("logs", pod["metadata"]["name"], "-c", "agent")
    assert "agent refused" in log
    journey.kube("delete", AGENT_NODES, "echo")


def await_state(journey, node: str, agent_name: str, state: str) -> str:
    """Wait until status tells this state of an agent on the only instance; its message."""

    def look() -> dict[str, str]:
        told = {found["name"]: found for one in journey.instances(node) for found in one.get("agents", ())}
        if told.get(agent_name, {}).get("state") != state:
            raise NotYet(told)
        return told[agent_name]

    found: dict[str, str] = wait_until(look, f"{agent_name} of {node} to be {state}", 120)
    return found.get("message", "")
