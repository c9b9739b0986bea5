"""From `kubectl apply` to an answer, and back to nothing."""

import json

from live.kubectl import AGENT_NODES, AGENTS
from live.waiting import NotYet, wait_until
from pools import ECHO, agent, agent_node, code, echo_pool

BROKEN = "import nowhere_to_be_found\n"
STREAMS = """
from collections.abc import AsyncIterator
from switchboard import Context, agent

@agent
async def words(text: str) -> AsyncIterator[str]:
    for word in text.split():
        yield word

@agent
async def asks(text: str, ctx: Context) -> str:
    answer = await ctx.request("capability:words", text)
    return answer.text
"""


def test_applied_agents_answer_by_id_by_key_and_by_capability(journey):
    skills = [{"name": "repeat", "version": "1.0.0"}]
    pool = echo_pool(journey.namespace, replicas=2)
    pool[2]["spec"]["capabilities"] = skills
    journey.apply(*pool)

    journey.await_ready(nodes=("echo",), agents=("echo",))

    assert journey.ask("echo", "by type") == "by type"
    assert journey.ask("echo/some-key", "by key") == "by key"
    assert journey.ask("capability:repeat", "by capability") == "by capability"
    assert journey.rest.execute("agents/echo", "over REST").body["output"] == "over REST"
    assert journey.rest.execute("capabilities/repeat", [1, 2]).status == 400, "text is wanted"
    wait_until(lambda: listed(journey) == {"echo": 2}, "both instances at the gateway")
    up = ("Up", [{"name": "echo", "state": "Ready"}])
    wait_until(lambda: [(i["state"], i["agents"]) for i in journey.instances("echo")] == [up] * 2, "both in status")


def test_agents_stream_and_call_each_other(journey):
    name = "talk"
    journey.apply(
        code(journey.namespace, name, app=STREAMS),
        agent_node(journey.namespace, name, replicas=1),
        agent(journey.namespace, "words", name, "app:words", capabilities=[{"name": "words"}]),
        agent(journey.namespace, "asks", name, "app:asks"),
    )
    journey.await_ready(agents=("words", "asks"))

    pieces = list(journey.client.stream("words", "a b c", namespace=journey.namespace))

    assert pieces == ["a", "b", "c"]
    assert journey.ask("asks", "a b c") == "abc"


def test_an_agent_is_deployed_and_undeployed_without_a_pod_restart(journey):
    journey.apply(*echo_pool(journey.namespace))
    journey.await_ready(agents=("echo",))
    pods = journey.pods("echo")

    journey.apply(agent(journey.namespace, "second", "echo"))
    journey.await_ready(agents=("second",))
    assert journey.ask("second", "hello") == "hello"
    journey.kube("delete", AGENTS, "second")

    def second_is_unknown() -> bool:
        reply = journey.rest.execute("agents/second", "hello")
        if reply.status != 404:
            raise NotYet(reply)
        return True

    wait_until(second_is_unknown, "the gateway to forget the agent")
    wait_until(lambda: hosted(journey) == {"echo"}, "the instance to host one agent again")
    assert journey.ask("echo", "still here") == "still here"
    now = journey.pods("echo")
    assert [restarts(pod) for pod in now] == [restarts(pod) for pod in pods]
    assert [pod["metadata"]["uid"] for pod in now] == [pod["metadata"]["uid"] for pod in pods]


def test_an_import_error_is_told_on_the_instance_and_in_a_condition(journey):
    journey.apply(*echo_pool(journey.namespace))
    journey.apply(
        code(journey.namespace, "echo", app=ECHO, broken=BROKEN),
        agent(journey.namespace, "broken", "echo", "broken:run"),
    )

    message = journey.await_reason(AGENTS, "broken", "Ready", "HandlerFailed")

    assert "nowhere_to_be_found" in message
    assert "broken.py" in message
    failed = {"name": "broken", "state": "Failed"}
    wait_until(lambda: any(failed.items() <= told.items() for told in agents_told(journey)), "it in the pool's status")
    journey.await_ready(agents=("echo",))
    assert journey.ask("echo", "the others work") == "the others work"


def test_a_deleted_pool_leaves_nothing(journey):
    pool = echo_pool(journey.namespace, autoscaling={"minReplicas": 1, "maxReplicas": 2})
    journey.apply(*pool)
    journey.await_ready(agents=("echo",))
    children = "deployments,replicasets,pods,services,hpa,pdb"
    assert len(journey.kubectl.items(journey.namespace, children)) >= 6

    journey.kube("delete", f"{AGENTS},{AGENT_NODES}", "--all")

    journey.await_gone(children)
    configmaps = {found["metadata"]["name"] for found in journey.kubectl.items(journey.namespace, "configmaps")}
    assert configmaps <= {"echo", "kube-root-ca.crt"}, "only the user's own is left"
    accounts = [found["metadata"]["name"] for found in journey.kubectl.items(journey.namespace, "serviceaccounts")]
    assert accounts == ["default"]


def test_an_inline_pool_lives_and_dies_with_its_agent(journey):
    inline = agent_node(journey.namespace, "own")["spec"]
    made = agent(journey.namespace, "own", "own")
    made["spec"] = {"handler": made["spec"]["handler"], "node": inline}
    journey.apply(code(journey.namespace, "own", app=ECHO), made)
    journey.await_ready(agents=("own",))
    assert journey.ask("own", "mine") == "mine"

    journey.kube("delete", AGENTS, "own")

    journey.await_gone(f"{AGENT_NODES},deployments,pods")


def test_what_a_caller_gets_wrong_is_refused_with_a_remedy(journey):
    pool = echo_pool(journey.namespace)
    pool[2]["spec"]["maxPayloadBytes"] = 1000
    journey.apply(*pool)
    journey.await_ready(agents=("echo",))
    rest = journey.rest

    unknown = rest.execute("agents/nobody", "x")
    no_json = rest.post("agents/echo", b"{no json")
    large = rest.execute("agents/echo", "x" * 5000)
    wrong_type = rest.execute("agents/echo", {"text": 1})

    assert (unknown.status, unknown.body["code"]) == (404, "AGENT_NOT_FOUND")
    assert "nobody" in json.dumps(unknown.body)
    assert (no_json.status, no_json.body["code"]) == (400, "VALIDATION_FAILED")
    assert (large.status, large.body["code"]) == (413, "PAYLOAD_TOO_LARGE")
    assert "1000" in json.dumps(large.body)
    assert (wrong_type.status, wrong_type.body["code"]) == (400, "VALIDATION_FAILED")
    assert rest.execute("agents/echo", "fine").status == 200


def listed(journey) -> dict[str, int]:
    """How many instances of each agent the gateway can choose among."""
    return {found["name"]: found["instancesReady"] for found in journey.rest.get("agents").body["agents"]}


def agents_told(journey) -> list[dict[str, str]]:
    """What status says of the agents on the pool's instances."""
    return [told for instance in journey.instances("echo") for told in instance["agents"]]


def hosted(journey) -> set[str]:
    return {told["name"] for told in agents_told(journey)}


def restarts(pod) -> list[int]:
    statuses = pod["status"].get("containerStatuses", []) + pod["status"].get("initContainerStatuses", [])
    return [status["restartCount"] for status in statuses]
