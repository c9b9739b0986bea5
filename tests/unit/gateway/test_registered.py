"""Agents that code registers on a dynamic AgentNode: addressable, as long as people declare nothing else."""

import pytest
from gateway_memory import FakeInstance, echo, turns
from prometheus_client import CollectorRegistry

from switchboard_gateway.core import Core
from switchboard_gateway.metrics import GatewayMetrics
from switchboard_gateway.registered import REMEMBERED_S
from switchboard_routing.policy import AgentPolicy
from switchboard_wire.calls import Payload, call_unary
from switchboard_wire.errors import SwitchboardError
from switchboard_wire.v1 import frames_pb2 as pb

POOL = ("default", "pool")


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def core() -> Core:
    made = Core("default", GatewayMetrics.create(CollectorRegistry()))
    made.now = Clock()
    made.set_directory([])
    made.set_dynamic_nodes({POOL})
    return made


async def ask(core: Core, type_: str) -> str:
    """Who answers, or the code of the error."""
    opened = pb.Open(target=pb.Target(type=type_), deadline_ms=50)
    try:
        return (await call_unary(core.attach_local("test"), opened, Payload(b""))).instance
    except SwitchboardError as error:
        return error.code


async def test_an_agent_that_code_registered_answers_and_is_listed(core: Core) -> None:
    FakeInstance(core, "a", echo, agents=("own",))
    assert await ask(core, "own") == "a"
    assert core.directory.types("default") == ["own"]


async def test_what_code_says_of_an_agent_its_capabilities_and_its_topics_find_it(core: Core) -> None:
    instance = FakeInstance(core, "a", echo, agents=())
    own = pb.HostedAgent(name="own", type="own", version="1.2.0", description="Its own.", state=pb.HOSTED_READY)
    own.capabilities.add(name="sum", version="2.0.0")
    own.topics.add(topic="news")
    own.topics.add(topic="orders.", prefix=True)
    instance.peer.send(pb.Frame(kind=pb.HOSTED, hosted=pb.Hosted(agents=[own])))
    await turns()
    [policy] = core.directory.policies()
    assert (policy.version, policy.description, policy.nodes) == ("1.2.0", "Its own.", frozenset({"pool"}))
    assert core.directory.capabilities("default") == ["sum"]
    found = [core.directory.subscribers("default", topic) for topic in ("news", "news.local", "orders.new")]
    assert found == [[policy], [], [policy]]


async def test_what_an_ordinary_agentnode_announces_is_not_addressable(core: Core) -> None:
    FakeInstance(core, "a", echo, agents=("own",), node="ordinary")
    assert await ask(core, "own") == "AGENT_NOT_FOUND"


async def test_an_instance_of_another_agentnode_does_not_answer_for_a_registered_agent(core: Core) -> None:
    FakeInstance(core, "foreign", echo, agents=("own",), node="ordinary")
    FakeInstance(core, "a", echo, agents=("own",))
    assert {await ask(core, "own") for _ in range(8)} == {"a"}


@pytest.mark.parametrize("declared", [("own", "x"), ("x", "own")], ids=["name", "type"])
async def test_a_declared_agent_comes_before_one_of_code(core: Core, declared: tuple[str, str]) -> None:
    name, type_ = declared
    FakeInstance(core, "a", echo, agents=("own",))
    assert await ask(core, "own") == "a"
    core.set_directory([AgentPolicy(namespace="default", name=name, type=type_, nodes=frozenset({"elsewhere"}))])
    assert await ask(core, "own") == ("AGENT_OFFLINE" if type_ == "own" else "AGENT_NOT_FOUND")


async def test_while_the_host_starts_anew_its_agent_is_known_and_later_it_is_not(core: Core) -> None:
    first = FakeInstance(core, "a", echo, agents=("own",))
    assert await ask(core, "own") == "a"
    first.die()
    assert await ask(core, "own") == "AGENT_OFFLINE", "it was held"
    clock = core.now
    assert isinstance(clock, Clock)
    clock.now += REMEMBERED_S + 1
    FakeInstance(core, "b", echo, agents=())
    assert await ask(core, "other") == "AGENT_NOT_FOUND"
    assert await ask(core, "own") == "AGENT_NOT_FOUND"


async def test_an_agentnode_that_stops_being_dynamic_takes_its_agents_with_it(core: Core) -> None:
    FakeInstance(core, "a", echo, agents=("own",))
    assert await ask(core, "own") == "a"
    core.set_dynamic_nodes(frozenset())
    assert await ask(core, "own") == "AGENT_NOT_FOUND"
