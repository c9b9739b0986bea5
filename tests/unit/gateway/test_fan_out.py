"""One message to many: who gets a copy, and what comes back of each."""

import asyncio
import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from switchboard_gateway import fan_out
from switchboard_gateway.core import Core
from switchboard_gateway.directory import build_directory
from switchboard_gateway.fan_out import MAX_OUTPUT_BYTES, PARALLEL, describe_output
from switchboard_gateway.links import Link
from switchboard_gateway.metrics import GatewayMetrics
from switchboard_routing.policy import AgentPolicy, Subscription
from switchboard_wire.calls import IncomingCall, OutgoingCall, Payload, call_unary, new_open
from switchboard_wire.errors import ErrorValue, SwitchboardError
from switchboard_wire.peer import Peer, local_pair
from switchboard_wire.v1 import frames_pb2 as pb

Handler = Callable[[IncomingCall, bytes], Payload]


class Pod:
    """The sidecar's end of a link; each agent has a handler of (call, body), which may raise SwitchboardError."""

    def __init__(self, core: Core, name: str, **handlers: Handler) -> None:
        self.name = name
        self.handlers = handlers
        self.seen: list[pb.Open] = []
        self.cancelled = 0
        self.under_way = 0
        self.most = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.tasks: list[asyncio.Task[None]] = []
        self.peer, _ = local_pair(self, Link(core), name)
        hosted = pb.Hosted(agents=[pb.HostedAgent(name=a, type=a, state=pb.HOSTED_READY) for a in handlers])
        hello = pb.Hello(namespace="default", node="pool", instance=name, pod_uid=name, hosted=hosted)
        self.peer.send(pb.Frame(kind=pb.HELLO, hello=hello))

    def on_open(self, peer: Peer, frame: pb.Frame) -> None:
        opened = pb.Open()
        opened.CopyFrom(frame.open)
        self.seen.append(opened)
        task: asyncio.Task[None]
        call = IncomingCall(peer, frame, lambda: task.cancel())
        task = asyncio.ensure_future(self._serve(call, opened.agent))
        self.tasks.append(task)

    async def _serve(self, call: IncomingCall, agent: str) -> None:
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            body = await call.body(1 << 24)
            await self.gate.wait()
            await call.close(self.handlers[agent](call, body))
        except SwitchboardError as error:
            call.fail(error.error)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.under_way -= 1

    def on_control(self, peer: Peer, frame: pb.Frame) -> None:
        pass

    def on_lost(self, peer: Peer) -> None:
        pass


def echo(_: IncomingCall, body: bytes) -> Payload:
    return Payload(body, "text/plain")


def much(_: IncomingCall, __: bytes) -> Payload:
    return Payload(b"x" * (MAX_OUTPUT_BYTES - 1))


def broken(_: IncomingCall, __: bytes) -> Payload:
    raise SwitchboardError(ErrorValue(pb.PROCESSING_ERROR, "broken", delivered=pb.DELIVERED_YES))


def subscriber(name: str, *topics: Subscription, **fields: Any) -> AgentPolicy:
    base: dict[str, Any] = {"namespace": "default", "name": name, "type": name, "topics": topics}
    return AgentPolicy(**(base | fields))


NEWS = Subscription("news")


@pytest.fixture
async def core() -> Core:
    made = Core("default", GatewayMetrics.create(CollectorRegistry()))
    made.set_directory([subscriber("a", NEWS), subscriber("b", Subscription("ne", prefix=True)), subscriber("c")])
    return made


async def turns(count: int = 20) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def topic(name: str = "news", source: str = "", **fields: Any) -> pb.Open:
    return pb.Open(target=pb.Target(topic=name, topic_source=source), **fields)


async def publish(core: Core, opened: pb.Open | None = None, data: bytes = b"hello", at: Peer | None = None) -> Any:
    close = await call_unary(at or core.attach_local("test"), opened or topic(), Payload(data, "text/plain"))
    assert close.content_type == "application/json"
    return json.loads(close.data)


async def test_every_subscriber_gets_one_copy_with_its_key_from_the_topics_source(core: Core) -> None:
    pod = Pod(core, "pod", a=echo, b=echo, c=echo)
    await turns()
    assert await publish(core, topic(source="user-1")) == [
        {"agent": "a/user-1", "ok": True, "instance": "pod", "output": "hello"},
        {"agent": "b/user-1", "ok": True, "instance": "pod", "output": "hello"},
    ]
    assert [(opened.agent, opened.target.type, opened.target.key, opened.hops) for opened in pod.seen] == [
        ("a", "a", "user-1", 1),
        ("b", "b", "user-1", 1),
    ]


async def test_one_failure_leaves_the_others_results(core: Core) -> None:
    Pod(core, "pod", a=broken, b=echo)
    await turns()
    failed, fine = await publish(core)
    assert failed == {
        "agent": "a",
        "ok": False,
        "error": {"code": "PROCESSING_ERROR", "message": "broken", "delivered": "YES"},
    }
    assert fine["ok"]


async def test_a_topic_without_subscribers_has_no_receivers(core: Core) -> None:
    assert await publish(core, topic("weather")) == []


async def test_the_senders_own_type_is_skipped(core: Core) -> None:
    pod = Pod(core, "pod", a=echo, b=echo)
    await turns()
    opened = topic()
    opened.source.type = "a"
    assert [entry["agent"] for entry in await publish(core, opened, at=pod.peer)] == ["b"]


async def test_of_two_versions_of_a_type_one_gets_the_copy(core: Core) -> None:
    core.set_directory([subscriber("a1", NEWS, type="a"), subscriber("a2", NEWS, type="a", version="2.0.0", weight=0)])
    pod = Pod(core, "pod", a1=echo, a2=echo)
    await turns()
    assert [entry["agent"] for entry in await publish(core)] == ["a"]
    assert [opened.agent for opened in pod.seen] == ["a1"]


async def test_a_receiver_without_instances_is_waited_for_within_the_deadline(core: Core) -> None:
    Pod(core, "pod", b=echo)
    await turns()
    offline, fine = await publish(core, topic(deadline_ms=1000))
    assert (offline["error"]["code"], offline["error"]["delivered"], fine["ok"]) == ("AGENT_OFFLINE", "NO", True)


async def test_a_large_message_reaches_everybody_in_pieces(core: Core) -> None:
    lengths: list[int] = []

    def measure(_: IncomingCall, body: bytes) -> Payload:
        lengths.append(len(body))
        return Payload()

    Pod(core, "pod", a=measure, b=measure)
    await turns()
    assert await publish(core, data=b"x" * 700_000) == [
        {"agent": "a", "ok": True, "instance": "pod"},
        {"agent": "b", "ok": True, "instance": "pod"},
    ]
    assert lengths == [700_000, 700_000]


async def test_a_message_that_is_too_large_for_one_reaches_those_for_whom_it_is_not(core: Core) -> None:
    core.set_directory([subscriber("a", NEWS, max_payload_bytes=10), subscriber("b", NEWS, max_payload_bytes=100)])
    Pod(core, "pod", a=echo, b=echo)
    await turns()
    small, large = await publish(core, data=b"x" * 50)
    assert (small["error"]["code"], large["ok"]) == ("PAYLOAD_TOO_LARGE", True)
    with pytest.raises(SwitchboardError, match="more than any receiver takes"):
        await publish(core, data=b"x" * 101)


async def test_a_caller_that_leaves_cancels_every_copy(core: Core) -> None:
    pod = Pod(core, "pod", a=echo, b=echo)
    pod.gate.clear()
    await turns()
    call = OutgoingCall(core.attach_local("test"), new_open(topic(), Payload(b"x"), end=True))
    await turns()
    assert core.active == 3  # the message and two copies
    call.cancel()
    await asyncio.wait_for(core.wait_quiet(), 10)
    await turns()
    assert (pod.cancelled, core.active) == (2, 0)


async def test_a_message_that_is_never_complete_ends_though_it_names_no_deadline(
    core: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fan_out, "PATIENCE_S", 0.05)
    told: list[pb.Frame] = []
    core.attach_local("test").open(new_open(topic(), Payload(b"x"), end=False), told.append)
    async with asyncio.timeout(60):
        while not told or told[-1].kind != pb.CLOSE:
            await asyncio.sleep(0.01)
    assert told[-1].error.code == pb.DEADLINE_EXCEEDED


async def test_a_sender_that_does_not_read_the_answer_does_not_hold_on_to_its_message(
    core: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"much-{number}" for number in range(8)]
    Pod(core, "pod-much", **dict.fromkeys(names, much))
    core.set_directory([subscriber(name, Subscription("news")) for name in names])
    await turns()
    monkeypatch.setattr(fan_out, "PATIENCE_S", 0.5)
    told: list[pb.Frame] = []
    core.attach_local("test").open(new_open(topic(), Payload(b"x" * 1000), end=True), told.append)
    async with asyncio.timeout(60):
        while not told:
            await asyncio.sleep(0.01)
        assert core.fan_out._bytes == 0
        while told[-1].kind != pb.CLOSE:
            await asyncio.sleep(0.01)
    assert (told[-1].error.code, told[-1].error.delivered) == (pb.DEADLINE_EXCEEDED, pb.DELIVERED_YES)


async def test_copies_go_out_a_few_at_a_time(core: Core) -> None:
    names = [f"s{number:03}" for number in range(PARALLEL + 10)]
    core.set_directory([subscriber(name, NEWS) for name in names])
    pod = Pod(core, "pod", **dict.fromkeys(names, echo))
    pod.gate.clear()
    await turns()
    publishing = asyncio.ensure_future(publish(core))
    await turns(200)
    assert pod.most == PARALLEL
    pod.gate.set()
    assert [entry["agent"] for entry in await publishing] == names


async def test_all_instances_of_a_type_get_a_copy(core: Core) -> None:
    pods = [Pod(core, f"pod-{number}", a=echo) for number in range(3)]
    await turns()
    found = await publish(core, pb.Open(target=pb.Target(type="a", all_instances=True)))
    assert [(entry["agent"], entry["instance"], entry["ok"]) for entry in found] == [
        ("a", f"pod-{number}", True) for number in range(3)
    ]
    assert [len(pod.seen) for pod in pods] == [1, 1, 1]


async def test_an_instance_that_leaves_meanwhile_is_named_in_the_answer(core: Core) -> None:
    gone, stays = Pod(core, "gone", a=echo), Pod(core, "stays", a=echo)
    gone.gate.clear()
    await turns()
    publishing = asyncio.ensure_future(publish(core, pb.Open(target=pb.Target(type="a", all_instances=True))))
    await turns()
    far = next(i.peer for i in core.table.instances.values() if i.name == "gone")
    far.lose("gone")
    lost, fine = await publishing
    assert (lost["instance"], lost["error"]["code"], fine["instance"]) == ("gone", "NODE_UNAVAILABLE", stays.name)
    for task in gone.tasks:
        task.cancel()


@pytest.mark.parametrize(
    ("opened", "code"),
    [
        (pb.Open(target=pb.Target(type="missing", all_instances=True)), "AGENT_NOT_FOUND"),
        (topic(hops=16), "ROUTING_ERROR"),
        (topic(source="k" * 300), "INVALID_AGENT_ID"),
        (topic(strategy="Best"), "VALIDATION_FAILED"),
    ],
    ids=["an unknown type", "a loop", "a source too long", "an unknown strategy"],
)
async def test_what_cannot_be_copied_is_refused(core: Core, opened: pb.Open, code: str) -> None:
    with pytest.raises(SwitchboardError) as caught:
        await publish(core, opened)
    assert caught.value.code == code


async def test_a_receiver_that_says_much_is_cut(core: Core) -> None:
    Pod(core, "pod", a=lambda *_: Payload(b"x" * (MAX_OUTPUT_BYTES + 1)), b=lambda *_: Payload(b"y" * 500_000))
    await turns()
    assert [entry.get("truncated") for entry in await publish(core)] == [True, True]


async def test_the_pieces_of_a_receiver_are_one_output(core: Core) -> None:
    class Streaming(Pod):
        async def _serve(self, call: IncomingCall, agent: str) -> None:
            content_type = "application/json" if agent == "a" else "text/plain"
            for piece in (b"1", b"", b"2"):
                await call.send(piece, content_type)
            await call.close(Payload())

    Streaming(core, "pod", a=echo, b=echo)
    await turns()
    assert [entry["output"] for entry in await publish(core)] == [[1, 2], "12"]


async def test_a_receiver_that_streams_much_is_cut(core: Core) -> None:
    class Streaming(Pod):
        async def _serve(self, call: IncomingCall, agent: str) -> None:
            for number in range(9):
                await call.send(b"%d" % number * (MAX_OUTPUT_BYTES // 4), "text/plain")
            await call.close(Payload(b"end" if agent == "a" else b"", "text/plain"))

    Streaming(core, "pod", a=echo, b=echo)
    await turns()
    first = b"".join(b"%d" % number * (MAX_OUTPUT_BYTES // 4) for number in range(4))
    for entry in await publish(core):
        assert (entry["truncated"], base64.b64decode(entry["outputBase64"]) == first) == (True, True)


async def test_a_sender_that_wants_no_results_gets_none(core: Core) -> None:
    Pod(core, "pod", a=echo, b=echo)
    await turns()
    assert all("output" not in entry for entry in await publish(core, topic(reply=pb.REPLY_NONE)))


OUTPUTS = {
    "JSON as it is": (b'{"a": 1}', "application/json; charset=utf-8", {"output": {"a": 1}}),
    "text as text": (b"hello", "text/plain", {"output": "hello"}),
    "bytes in base64": (b"\xff", "image/png", {"outputBase64": "/w==", "contentType": "image/png"}),
    "JSON that is none": (b"{", "application/json", {"outputBase64": "ew==", "contentType": "application/json"}),
}


@pytest.mark.parametrize(("data", "content_type", "expected"), OUTPUTS.values(), ids=OUTPUTS.keys())
def test_output(data: bytes, content_type: str, expected: dict[str, Any]) -> None:
    assert describe_output(data, content_type, complete=True) == expected


texts = st.text("ab.", min_size=1, max_size=4)


@given(st.lists(st.tuples(texts, st.booleans()), max_size=6), texts)
def test_an_agent_is_a_subscriber_exactly_when_one_of_its_topics_matches(
    topics: list[tuple[str, bool]], published: str
) -> None:
    subscriptions = [Subscription(name, prefix) for name, prefix in topics]
    directory = build_directory([subscriber("a", *subscriptions), subscriber("other", namespace="elsewhere")])
    wanted = any(published.startswith(name) if prefix else published == name for name, prefix in topics)
    assert [policy.name for policy in directory.subscribers("default", published)] == ["a"] * wanted
