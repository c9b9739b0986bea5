"""The core between a client and instances in memory: whatever instances do, the caller gets exactly one end."""

import asyncio
from collections.abc import Callable

import pytest
from prometheus_client import CollectorRegistry

from switchboard_gateway.core import Core
from switchboard_gateway.links import Link
from switchboard_gateway.metrics import GatewayMetrics
from switchboard_routing.policy import AgentPolicy, Capability, RetryPolicy
from switchboard_wire.calls import OutgoingCall, Payload, call_unary, new_open
from switchboard_wire.errors import ErrorValue, SwitchboardError, close_with
from switchboard_wire.peer import LocalPeer, Peer, local_pair
from switchboard_wire.v1 import frames_pb2 as pb

Script = Callable[[Peer, pb.Frame], None]


class FakeInstance:
    """The sidecar's end of a link: answers each OPEN by its script and remembers what came."""

    def __init__(self, core: Core, name: str, script: Script, agents: tuple[str, ...] = ("echo",)) -> None:
        self.name = name
        self.script = script
        self.opened: list[pb.Frame] = []
        self.later: list[pb.Frame] = []
        self.peer, self.far = local_pair(self, Link(core), name)
        self.announce(agents)

    def announce(self, agents: tuple[str, ...]) -> None:
        hosted = pb.Hosted(agents=[pb.HostedAgent(name=a, type=a, state=pb.HOSTED_READY) for a in agents])
        hello = pb.Hello(namespace="default", node="pool", instance=self.name, pod_uid=self.name, hosted=hosted)
        self.peer.send(pb.Frame(kind=pb.HELLO, hello=hello))

    def on_open(self, peer: Peer, frame: pb.Frame) -> None:
        seen = pb.Frame()
        seen.CopyFrom(frame)
        self.opened.append(seen)
        peer.accept(frame.call, self.later.append)
        self.script(peer, seen)

    def on_control(self, peer: Peer, frame: pb.Frame) -> None:
        pass

    def on_lost(self, peer: Peer) -> None:
        pass

    def die(self) -> None:
        self.peer.lost = True
        self.far.lose("gone")


def echo(peer: Peer, frame: pb.Frame) -> None:
    peer.send(pb.Frame(kind=pb.CLOSE, call=frame.call, data=frame.data))


def silent(peer: Peer, frame: pb.Frame) -> None:
    """Never answers."""


def refuse(code: int, delivered: int = pb.DELIVERED_NO) -> Script:
    def script(peer: Peer, frame: pb.Frame) -> None:
        peer.send(close_with(frame.call, ErrorValue(code, "refused", retry_after_ms=100, delivered=delivered)))

    return script


def policy(**changes: object) -> AgentPolicy:
    base: dict[str, object] = {"namespace": "default", "name": "echo", "type": "echo", "nodes": frozenset({"pool"})}
    return AgentPolicy(**(base | changes))  # type: ignore[arg-type]


@pytest.fixture
async def core() -> Core:
    made = Core("default", GatewayMetrics.create(CollectorRegistry()))
    made.set_directory([policy()])
    return made


async def turns(count: int = 10) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def opening(type_: str = "echo", **fields: object) -> pb.Open:
    return pb.Open(target=pb.Target(type=type_), **fields)  # type: ignore[arg-type]


async def request(core: Core, open_: pb.Open | None = None, data: bytes = b"hello") -> pb.Frame:
    return await call_unary(core.attach_local("test"), open_ or opening(), Payload(data))


async def fails(core: Core, open_: pb.Open | None = None, data: bytes = b"") -> SwitchboardError:
    with pytest.raises(SwitchboardError) as caught:
        await request(core, open_, data)
    return caught.value


async def test_a_call_reaches_an_instance_and_its_answer_the_caller(core: Core) -> None:
    instance = FakeInstance(core, "a", echo)
    await turns()
    close = await request(core)
    assert (close.data, close.instance) == (b"hello", "a")
    assert instance.opened[0].open.agent == "echo"
    assert instance.opened[0].open.hops == 1
    assert 0 < instance.opened[0].open.deadline_ms <= 30_000


async def test_an_unknown_agent_is_named_with_those_that_exist(core: Core) -> None:
    error = await fails(core, opening("missing"))
    assert error.code == "AGENT_NOT_FOUND"
    assert error.message == "no Agent of type 'missing' in namespace 'default'; there is echo"


async def test_a_malformed_type_is_no_agent_id(core: Core) -> None:
    assert (await fails(core, opening("No Such"))).code == "INVALID_AGENT_ID"


async def test_a_capability_finds_its_agent_and_a_missing_one_lists_what_there_is(core: Core) -> None:
    core.set_directory([policy(capabilities=(Capability("repeat", "1.0.0"),))])
    FakeInstance(core, "a", echo)
    await turns()
    assert (await request(core, pb.Open(target=pb.Target(capability="repeat")))).data == b"hello"
    error = await fails(core, pb.Open(target=pb.Target(capability="fly")))
    assert (error.code, "there is repeat" in error.message) == ("AGENT_NOT_FOUND", True)


async def test_a_call_is_held_until_an_instance_comes(core: Core) -> None:
    waiting = asyncio.ensure_future(request(core))
    await turns()
    assert len(core.held) == 1
    FakeInstance(core, "late", echo)
    assert (await waiting).instance == "late"
    assert len(core.held) == 0


async def test_a_held_call_ends_with_agent_offline_at_its_deadline(core: Core) -> None:
    error = await fails(core, opening(deadline_ms=30))
    assert (error.code, error.error.delivered, error.retry_after_s) == ("AGENT_OFFLINE", pb.DELIVERED_NO, 1.0)


async def test_an_instance_that_never_answers_costs_the_deadline_and_is_told(core: Core) -> None:
    instance = FakeInstance(core, "a", silent)
    await turns()
    error = await fails(core, opening(deadline_ms=30))
    assert (error.code, error.error.delivered) == ("DEADLINE_EXCEEDED", pb.DELIVERED_MAYBE)
    await turns()
    assert [frame.kind for frame in instance.later] == [pb.CANCEL]


@pytest.mark.parametrize("code", [pb.NODE_UNAVAILABLE, pb.OVERLOADED])
async def test_a_refused_call_goes_to_another_instance_unseen_by_the_caller(core: Core, code: int) -> None:
    FakeInstance(core, "refuses", refuse(code))
    FakeInstance(core, "answers", echo)
    await turns()
    assert {(await request(core)).instance for _ in range(20)} == {"answers"}


async def test_when_all_are_overloaded_the_caller_learns_when_to_come_back(core: Core) -> None:
    FakeInstance(core, "a", refuse(pb.OVERLOADED))
    FakeInstance(core, "b", refuse(pb.OVERLOADED))
    await turns()
    error = await fails(core)
    assert (error.code, error.retry_after_s) == ("OVERLOADED", 0.1)


async def test_a_lost_instance_fails_a_delivered_call_once_and_saves_an_idempotent_one(core: Core) -> None:
    dying = FakeInstance(core, "dying", silent)
    await turns()
    plain = asyncio.ensure_future(fails(core))
    safe = asyncio.ensure_future(request(core, opening(idempotent=True)))
    await turns()
    FakeInstance(core, "other", echo)
    await turns()
    # frames of a local pair count as written once handed over
    dying.die()
    assert (await plain).code == "NODE_UNAVAILABLE"
    assert (await safe).instance == "other"


async def test_a_draining_instance_gets_no_new_calls_and_finishes_its_own(core: Core) -> None:
    answers: list[Callable[[], None]] = []
    draining = FakeInstance(core, "draining", lambda peer, frame: answers.append(lambda: echo(peer, frame)))
    await turns()
    running = asyncio.ensure_future(request(core))
    await turns()
    draining.peer.send(pb.Frame(kind=pb.GOAWAY, goaway=pb.Goaway(reason="rollout")))
    FakeInstance(core, "fresh", echo)
    await turns()
    assert (await request(core)).instance == "fresh"
    answers[0]()
    assert (await running).instance == "draining"


async def test_only_an_instance_of_a_bound_node_answers(core: Core) -> None:
    core.set_directory([policy(nodes=frozenset({"elsewhere"}))])
    FakeInstance(core, "a", echo)
    await turns()
    assert (await fails(core, opening(deadline_ms=30))).code == "AGENT_OFFLINE"


async def test_a_handler_failure_is_retried_only_for_an_idempotent_agent(core: Core) -> None:
    failing = FakeInstance(core, "a", refuse(pb.PROCESSING_ERROR, pb.DELIVERED_YES))
    await turns()
    assert (await fails(core)).code == "PROCESSING_ERROR"
    assert len(failing.opened) == 1
    retries = RetryPolicy(attempts=3, initial_backoff_s=0.001, idempotent=True)
    core.set_directory([policy(retries=retries)])
    assert (await fails(core)).code == "PROCESSING_ERROR"
    assert len(failing.opened) == 1 + 3


async def test_a_payload_over_the_agents_limit_is_refused_before_it_is_sent(core: Core) -> None:
    core.set_directory([policy(max_payload_bytes=300_000)])
    instance = FakeInstance(core, "a", silent)
    await turns()
    assert (await fails(core, data=b"x" * 400_000)).code == "PAYLOAD_TOO_LARGE"
    await turns()
    assert instance.later[-1].kind == pb.CANCEL


async def test_a_loop_of_agents_ends_at_the_hop_limit(core: Core) -> None:
    assert (await fails(core, opening(hops=16))).code == "ROUTING_ERROR"


async def test_a_caller_that_leaves_cancels_its_call(core: Core) -> None:
    instance = FakeInstance(core, "a", silent)
    client: LocalPeer = core.attach_local("test")
    await turns()
    call = OutgoingCall(client, new_open(opening(), Payload(b"x"), end=True))
    await turns()
    call.cancel()
    await turns()
    assert [frame.kind for frame in instance.later] == [pb.CANCEL]
    assert core.metrics.calls.values == {("default", "echo", "CANCELLED"): 1}


async def test_answer_and_cancel_that_cross_end_the_call_once(core: Core) -> None:
    FakeInstance(core, "a", echo)
    client = core.attach_local("test")
    await turns()
    for delay in range(8):
        call = OutgoingCall(client, new_open(opening(), Payload(b"x"), end=True))
        await turns(delay)
        call.cancel()
        await turns()
    assert sum(core.metrics.calls.values.values()) == 8
    assert [instance.in_flight for instance in core.table.instances.values()] == [0]
