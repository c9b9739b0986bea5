"""Calls between a gateway and a host, frame by frame."""

import asyncio

import pytest
from sidecar_ends import assignment, until
from sidecar_memory import Bench, Recorder

from switchboard_sidecar import outbound
from switchboard_wire.limits import INITIAL_CREDIT_BYTES, MAX_HOPS
from switchboard_wire.peer import Peer
from switchboard_wire.v1 import frames_pb2 as pb


def kinds(frames: list[pb.Frame]) -> list[str]:
    return [pb.Kind.Name(frame.kind) for frame in frames]


def codes(frames: list[pb.Frame]) -> list[tuple[int, str, int]]:
    """(call, code, delivered) of each CLOSE."""
    return [(frame.call, pb.Code.Name(frame.error.code), frame.error.delivered) for frame in frames]


async def test_a_unary_call_is_one_frame_there_and_one_back() -> None:
    bench = Bench(assignment("a"))
    number = bench.open("a", data=b"question", deadline_ms=5000)
    (opened,) = bench.to_host()
    assert (opened.data, opened.end, opened.open.deadline_ms) == (b"question", True, 5000)
    bench.answer(opened.call, data=b"answer", processing_us=7)
    (closed,) = bench.to_gateway()
    assert (closed.call, closed.data, closed.processing_us) == (number, b"answer", 7)
    assert (bench.link.calls, bench.host.calls, bench.deliverer.busy) == ({}, {}, 0)


async def test_pieces_and_credit_pass_through_in_both_directions() -> None:
    bench = Bench(assignment("a"))
    number = bench.open("a", end=False)
    (opened,) = bench.to_host()
    for frame in (
        pb.Frame(kind=pb.DATA, call=number, data=b"more"),
        pb.Frame(kind=pb.WINDOW, call=number, credit=9),
        pb.Frame(kind=pb.HALF_CLOSE, call=number),
    ):
        bench.link.dispatch(frame)
    assert [(f.call, f.kind, f.data, f.credit) for f in bench.to_host()] == [
        (opened.call, pb.DATA, b"more", 0),
        (opened.call, pb.WINDOW, b"", 9),
        (opened.call, pb.HALF_CLOSE, b"", 0),
    ]
    for frame in (
        pb.Frame(kind=pb.WINDOW, call=opened.call, credit=4),
        pb.Frame(kind=pb.DATA, call=opened.call, data=b"piece"),
        pb.Frame(kind=pb.CLOSE, call=opened.call),
    ):
        bench.host.dispatch(frame)
    assert [(f.call, f.kind, f.data, f.credit) for f in bench.to_gateway()] == [
        (number, pb.WINDOW, b"", 4),
        (number, pb.DATA, b"piece", 0),
        (number, pb.CLOSE, b"", 0),
    ]


async def test_cancel_reaches_the_host_and_frees_the_slot() -> None:
    bench = Bench(assignment("a"), concurrency=1)
    number = bench.open("a")
    (opened,) = bench.to_host()
    waiting = bench.open("a")
    bench.link.dispatch(pb.Frame(kind=pb.CANCEL, call=number))
    frames = bench.to_host()
    assert [(f.kind, f.call) for f in frames] == [(pb.CANCEL, opened.call), (pb.OPEN, frames[1].call)]
    bench.answer(frames[1].call)
    assert codes(bench.to_gateway()) == [(waiting, "OK", 0)]


async def test_beyond_concurrency_calls_wait_beyond_the_queue_they_are_refused() -> None:
    bench = Bench(assignment("a"), concurrency=1, queue_length=1)
    bench.open("a")
    waiting, refused = bench.open("a"), bench.open("a")
    (close,) = bench.to_gateway()
    assert codes([close]) == [(refused, "OVERLOADED", pb.DELIVERED_NO)]
    assert close.error.retry_after_ms > 0
    (first,) = bench.to_host()
    bench.answer(first.call)
    (second,) = bench.to_host()
    bench.answer(second.call)
    assert [frame.call for frame in bench.to_gateway()] == [2, waiting]


async def test_a_call_that_waited_goes_on_with_the_time_it_has_left_and_what_came_meanwhile() -> None:
    bench = Bench(assignment("a"), concurrency=1)
    bench.open("a")
    (first,) = bench.to_host()
    number = bench.open("a", end=False, deadline_ms=5000)
    bench.link.dispatch(pb.Frame(kind=pb.DATA, call=number, data=b"1"))
    bench.link.dispatch(pb.Frame(kind=pb.DATA, call=number, data=b"2", end=True))
    bench.now += 1.5
    bench.answer(first.call)
    opened, *rest = bench.to_host()
    assert opened.open.deadline_ms == 3500
    assert [(f.call, f.data, f.end) for f in rest] == [(opened.call, b"1", False), (opened.call, b"2", True)]


async def test_a_deadline_that_passes_in_the_queue_was_never_delivered() -> None:
    bench = Bench(assignment("a"), concurrency=1)
    bench.open("a")
    bench.to_host()
    number = bench.open("a", deadline_ms=30)
    await until(lambda: bench.link.outbox)
    assert codes(bench.to_gateway()) == [(number, "DEADLINE_EXCEEDED", pb.DELIVERED_NO)]
    assert (bench.deliverer.admission.queued, bench.to_host()) == (0, [])


@pytest.mark.parametrize(
    ("fields", "code", "message"),
    [
        pytest.param({"type_": "b"}, "NODE_UNAVAILABLE", "'b' is not hosted", id="an agent that is not here"),
        pytest.param({"agent": "z"}, "NODE_UNAVAILABLE", "'z' is not hosted", id="a name that is not here"),
        pytest.param({"type_": "broken"}, "NODE_UNAVAILABLE", "is not ready: no", id="an agent that failed"),
        pytest.param({"hops": MAX_HOPS + 1}, "ROUTING_ERROR", "over 16 hops", id="a loop"),
    ],
)
async def test_what_cannot_be_served_is_refused_undelivered(fields: dict[str, object], code: str, message: str) -> None:
    bench = Bench(assignment("a"), assignment("broken"))
    failed = pb.HostedAgent(name="broken", type="broken", state=pb.HOSTED_FAILED, message="no module")
    ready = pb.HostedAgent(name="a", type="a", state=pb.HOSTED_READY)
    bench.roster.host_said(bench.host, pb.Hosted(generation=1, agents=[ready, failed]))
    number = bench.open(**fields)  # type: ignore[arg-type]
    (close,) = bench.to_gateway()
    assert codes([close]) == [(number, code, pb.DELIVERED_NO)]
    assert message in close.error.message
    assert bench.to_host() == []


async def test_a_to_b_to_a_at_concurrency_one_does_not_wait_for_itself() -> None:
    bench = Bench(assignment("a", concurrency=1), assignment("b", concurrency=1), concurrency=1)
    bench.open("a")
    bench.open("b", chain=["a/1"])
    bench.open("a", chain=["a/1", "b"])
    bench.open("a")
    frames = bench.to_host()
    assert [frame.open.target.type for frame in frames] == ["a", "b", "a"]
    for frame in reversed(frames):
        bench.answer(frame.call)
    assert kinds(bench.to_host()) == ["OPEN"]


async def test_of_two_versions_of_a_type_the_one_that_the_gateway_chose_answers() -> None:
    bench = Bench(assignment("a-1", type="a", version="1"), assignment("a-2", type="a", version="2", concurrency=1))
    bench.open("a", agent="a-2")
    assert bench.roster.by_name["a-2"].lane.in_flight == 1


async def test_a_host_that_is_lost_ends_its_calls_and_its_queue() -> None:
    bench = Bench(assignment("a"), concurrency=1)
    first, second = bench.open("a"), bench.open("a")
    bench.host.outbox.take()

    class Owner(Recorder):
        def on_lost(self, peer: Peer) -> None:
            bench.roster.host_left(peer)

    bench.host.events = Owner()
    bench.host.lose("killed")
    assert codes(bench.to_gateway()) == [
        (first, "NODE_UNAVAILABLE", pb.DELIVERED_MAYBE),
        (second, "NODE_UNAVAILABLE", pb.DELIVERED_NO),
    ]
    assert bench.deliverer.busy == 0


async def test_a_host_that_calls_its_own_pod_and_is_lost_frees_its_slot_once() -> None:
    bench = Bench(assignment("a"), assignment("b"))
    bench.host.dispatch(host_call(1, "b"))
    assert bench.deliverer.busy == 1
    bench.roster.host_left(bench.host)
    bench.host.lose("killed")
    assert bench.deliverer.busy == 0


async def test_a_gateway_that_is_lost_while_the_host_is_going_frees_each_slot_once() -> None:
    bench = Bench(assignment("a"), concurrency=1)
    for _ in range(3):
        bench.open("a")
    bench.roster.host_left(bench.host)  # it said GOAWAY and still runs the first
    bench.link.lose("partition")
    assert bench.deliverer.busy == 0


async def test_a_long_queue_of_a_lost_host_is_refused_without_deep_recursion() -> None:
    bench = Bench(assignment("a"), concurrency=1, queue_length=5000)
    for _ in range(5001):
        bench.open("a")
    bench.to_host()
    bench.roster.host_left(bench.host)
    bench.host.lose("killed")
    assert len(bench.to_gateway()) == 5001
    assert bench.deliverer.busy == 0


async def test_a_gateway_that_is_lost_cancels_its_calls() -> None:
    bench = Bench(assignment("a"), concurrency=1)
    bench.open("a")
    bench.open("a")
    (opened,) = bench.to_host()
    bench.link.lose("partition")
    frames = bench.to_host()
    assert frames[0].kind == pb.CANCEL
    assert frames[0].call == opened.call
    assert bench.deliverer.admission.queued == 0


async def test_a_removed_agent_finishes_what_runs_and_refuses_what_waits_and_what_comes() -> None:
    bench = Bench(assignment("a"), concurrency=1)
    running, waiting = bench.open("a"), bench.open("a")
    (opened,) = bench.to_host()
    gone = bench.roster.by_name["a"]
    bench.roster.apply(pb.Assignments(generation=2))
    bench.deliverer.flush(gone)
    late = bench.open("a")
    bench.answer(opened.call)
    assert codes(bench.to_gateway()) == [
        (waiting, "NODE_UNAVAILABLE", 0),
        (late, "NODE_UNAVAILABLE", 0),
        (running, "OK", 0),
    ]
    assert bench.deliverer.busy == 0


@pytest.mark.parametrize("from_host", [False, True], ids=["the gateway", "the host"])
async def test_an_end_that_ignores_the_credit_loses_its_call(from_host: bool) -> None:
    bench = Bench(assignment("a"))
    number = bench.open("a", end=False)
    (opened,) = bench.to_host()
    peer, call = (bench.host, opened.call) if from_host else (bench.link, number)
    sent = 0
    while sent <= INITIAL_CREDIT_BYTES:
        peer.dispatch(pb.Frame(kind=pb.DATA, call=call, data=bytes(60_000)))
        sent += 60_000
    peer.dispatch(pb.Frame(kind=pb.DATA, call=call, data=b"too much"))
    closes = [frame for frame in bench.to_gateway() if frame.kind == pb.CLOSE]
    assert "credit" in closes[0].error.message
    assert bench.to_host()[-1].kind == pb.CANCEL
    assert (bench.link.calls, bench.host.calls, bench.deliverer.busy) == ({}, {}, 0)


async def test_ack_accepted_ends_the_callers_part_at_once_and_keeps_the_slot() -> None:
    bench = Bench(assignment("a"), concurrency=1)
    number = bench.open("a", ack=pb.ACK_ACCEPTED)
    assert codes(bench.to_gateway()) == [(number, "OK", 0)]
    waiting = bench.open("a", ack=pb.ACK_ACCEPTED)
    assert codes(bench.to_gateway()) == [(waiting, "OK", 0)]
    assert (bench.deliverer.admission.in_flight, bench.link.calls) == (1, {})
    for _ in range(2):
        (opened,) = bench.to_host()
        bench.answer(opened.call, data=b"nobody hears it")
    assert (bench.to_gateway(), bench.deliverer.busy) == ([], 0)


async def test_an_acknowledged_call_still_ends_at_its_deadline() -> None:
    bench = Bench(assignment("a"))
    bench.open("a", ack=pb.ACK_ACCEPTED, deadline_ms=30)
    (opened,) = bench.to_host()
    await until(lambda: bench.host.outbox)
    (cancel,) = bench.to_host()
    assert (cancel.kind, cancel.call, bench.deliverer.busy) == (pb.CANCEL, opened.call, 0)


async def test_a_request_in_pieces_is_held_to_the_agents_limit() -> None:
    bench = Bench(assignment("a", max_payload_bytes=1000))
    number = bench.open("a", end=False)
    bench.to_host()
    bench.link.dispatch(pb.Frame(kind=pb.DATA, call=number, data=bytes(1000)))
    bench.link.dispatch(pb.Frame(kind=pb.DATA, call=number, data=b"x"))
    (close,) = bench.to_gateway()
    assert (close.error.code, close.error.message) == (
        pb.PAYLOAD_TOO_LARGE,
        "the payload is over 1000 bytes, the Agent's maxPayloadBytes",
    )
    assert [frame.kind for frame in bench.to_host()] == [pb.DATA, pb.CANCEL]


async def test_a_neighbour_is_held_to_the_agents_limit() -> None:
    bench = Bench(assignment("a"), assignment("b", max_payload_bytes=10))
    call = host_call(1, "b")
    call.data = bytes(11)
    bench.host.dispatch(call)
    assert codes(bench.to_host()) == [(1, "PAYLOAD_TOO_LARGE", pb.DELIVERED_NO)]
    assert bench.deliverer.busy == 0


async def test_nobody_fills_the_memory_with_empty_frames_while_a_call_waits() -> None:
    bench = Bench(assignment("a"), concurrency=1)
    bench.open("a")
    number = bench.open("a", end=False)
    for _ in range(5000):
        bench.link.dispatch(pb.Frame(kind=pb.DATA, call=number))
    (close,) = bench.to_gateway()
    assert (close.call, close.error.code) == (number, pb.VALIDATION_FAILED)
    assert bench.deliverer.admission.queued == 0


async def test_a_host_that_answers_twice_or_under_a_wrong_number_disturbs_nobody() -> None:
    bench = Bench(assignment("a"))
    first, second = bench.open("a"), bench.open("a")
    one, two = bench.to_host()
    bench.answer(one.call)
    bench.answer(one.call, data=b"again")
    bench.host.dispatch(pb.Frame(kind=pb.CLOSE, call=9998))
    bench.host.dispatch(pb.Frame(kind=pb.OPEN, call=two.call))
    bench.answer(two.call)
    assert codes(bench.to_gateway()) == [(first, "OK", 0), (second, "OK", 0)]


async def test_a_call_of_the_host_to_a_neighbour_stays_in_the_pod() -> None:
    bench = Bench(assignment("a"), assignment("b"))
    source = pb.AgentId(namespace="lie", type="a", key="k")
    bench.host.dispatch(host_call(1, "b", source=source, principal="spiffe://x/ns/y/sa/admin", tenant="acme"))
    (opened,) = bench.to_host()
    assert (opened.open.principal, opened.open.tenant) == ("", "")
    assert (opened.open.source.namespace, opened.open.source.type, opened.open.source.key) == ("ns", "a", "k")
    assert (opened.open.agent, opened.open.hops, opened.open.deadline_ms) == ("b", 1, 30_000)
    bench.answer(opened.call, data=b"yes")
    (close,) = bench.to_host()
    assert (close.call, close.data) == (1, b"yes")


def host_call(number: int, type_: str, **fields: object) -> pb.Frame:
    target = fields.pop("target", None) or pb.Target(type=type_)
    open_ = pb.Open(target=target, **fields)  # type: ignore[arg-type]
    return pb.Frame(kind=pb.OPEN, call=number, end=True, open=open_)


@pytest.mark.parametrize(
    ("target", "fields"),
    [
        pytest.param(pb.Target(type="b", key="k"), {}, id="a key"),
        pytest.param(pb.Target(type="elsewhere"), {}, id="another node's agent"),
        pytest.param(pb.Target(type="b", namespace="other"), {}, id="another namespace"),
        pytest.param(pb.Target(type="b", all_instances=True), {}, id="every instance"),
        pytest.param(pb.Target(capability="sum"), {}, id="a capability"),
        pytest.param(pb.Target(type="b"), {"strategy": "Random"}, id="a strategy"),
    ],
)
async def test_what_the_gateway_has_to_choose_leaves_the_pod(target: pb.Target, fields: dict[str, object]) -> None:
    bench = Bench(assignment("a"), assignment("b"))
    bench.links.append(bench.link)
    bench.host.dispatch(host_call(1, "", target=target, source=pb.AgentId(type="a"), chain=["a"], **fields))
    (opened,) = bench.to_gateway()
    assert (opened.open.source.type, list(opened.open.chain), opened.open.hops) == ("a", ["a"], 1)
    bench.link.dispatch(pb.Frame(kind=pb.CLOSE, call=opened.call, data=b"far"))
    (close,) = bench.to_host()
    assert (close.call, close.data, bench.outbound.in_flight) == (1, b"far", 0)


async def test_a_full_neighbour_is_called_elsewhere() -> None:
    bench = Bench(assignment("a"), assignment("b", concurrency=1))
    bench.links.append(bench.link)
    bench.open("b")
    bench.host.dispatch(host_call(1, "b"))
    assert [frame.open.target.type for frame in bench.to_gateway()] == ["b"]


async def test_who_calls_is_believed_only_within_what_is_hosted() -> None:
    bench = Bench(assignment("a"), assignment("b"))
    bench.links.append(bench.link)
    bench.host.dispatch(host_call(1, "x", source=pb.AgentId(namespace="ns", type="admin", key="root")))
    (opened,) = bench.to_gateway()
    assert opened.open.source == pb.AgentId(namespace="ns")


async def test_a_call_to_an_agent_that_only_some_may_call_leaves_the_pod() -> None:
    bench = Bench(assignment("a"), assignment("b", restricted=True))
    bench.host.dispatch(host_call(1, "a"))
    assert kinds(bench.to_host()) == ["OPEN"]
    bench.links.append(bench.link)
    bench.host.dispatch(host_call(3, "b"))
    assert (kinds(bench.to_host()), kinds(bench.to_gateway())) == ([], ["OPEN"])


async def test_without_a_gateway_a_call_is_held_until_there_is_one() -> None:
    bench = Bench(assignment("a"))
    bench.host.dispatch(host_call(1, "x", deadline_ms=60_000))
    assert (bench.outbound.held, bench.to_host()) == (1, [])
    bench.links.append(bench.link)
    bench.now += 20
    bench.outbound.link_came()
    (opened,) = bench.to_gateway()
    assert (opened.kind, opened.open.deadline_ms) == (pb.OPEN, 40_000)
    assert bench.outbound.held == 0


async def test_without_a_gateway_the_deadline_ends_in_agent_offline() -> None:
    bench = Bench(assignment("a"))
    bench.host.dispatch(host_call(1, "x", deadline_ms=30))
    await until(lambda: bench.host.outbox)
    assert codes(bench.to_host()) == [(1, "AGENT_OFFLINE", pb.DELIVERED_NO)]
    assert (bench.outbound.held, bench.outbound.in_flight) == (0, 0)


async def test_a_local_call_ends_at_its_deadline() -> None:
    bench = Bench(assignment("a"), assignment("b"))
    bench.host.dispatch(host_call(1, "b", deadline_ms=30))
    (opened,) = bench.to_host()
    await until(lambda: bench.host.outbox)
    cancel, close = bench.to_host()
    assert (cancel.kind, cancel.call) == (pb.CANCEL, opened.call)
    assert codes([close]) == [(1, "DEADLINE_EXCEEDED", pb.DELIVERED_YES)]
    assert bench.deliverer.busy == 0


async def test_a_local_call_is_acknowledged_as_any_other() -> None:
    bench = Bench(assignment("a"), assignment("b"))
    bench.host.dispatch(host_call(1, "b", ack=pb.ACK_ACCEPTED))
    frames = bench.to_host()
    assert codes([frame for frame in frames if frame.kind == pb.CLOSE]) == [(1, "OK", 0)]
    [opened] = [frame for frame in frames if frame.kind == pb.OPEN]
    assert bench.deliverer.busy == 1
    bench.answer(opened.call, data=b"nobody hears it")
    assert (bench.to_host(), bench.deliverer.busy) == ([], 0)


async def test_hops_grow_and_end_a_loop() -> None:
    bench = Bench(assignment("a"))
    bench.host.dispatch(host_call(1, "a", hops=MAX_HOPS))
    await asyncio.sleep(0)
    assert codes(bench.to_host()) == [(1, "ROUTING_ERROR", 0)]


async def test_an_open_that_is_all_headers_is_refused() -> None:
    bench = Bench(assignment("a"))
    bench.host.dispatch(host_call(1, "a", headers={"x": "y" * 20_000}))
    assert codes(bench.to_host()) == [(1, "VALIDATION_FAILED", pb.DELIVERED_NO)]


async def test_payloads_that_wait_are_bounded_and_the_next_is_shed() -> None:
    bench = Bench(assignment("a"), concurrency=1)
    bench.deliverer.admission.max_bytes = 10
    bench.open("a")
    (first,) = bench.to_host()
    waiting = bench.open("a", data=b"12345678", end=False)
    shed = bench.open("a", data=b"123")
    (close,) = bench.to_gateway()
    assert codes([close]) == [(shed, "OVERLOADED", pb.DELIVERED_NO)]
    assert close.error.retry_after_ms > 0
    bench.link.dispatch(pb.Frame(kind=pb.DATA, call=waiting, data=b"9"))
    bench.link.dispatch(pb.Frame(kind=pb.DATA, call=waiting, data=b"10"))
    (close,) = bench.to_gateway()
    assert codes([close]) == [(waiting, "OVERLOADED", pb.DELIVERED_NO)]
    assert close.error.retry_after_ms > 0
    assert (bench.deliverer.admission.queued_bytes, bench.deliverer.admission.queued) == (0, 0)
    bench.answer(first.call)
    assert bench.deliverer.busy == 0


@pytest.mark.interpreted
async def test_calls_of_the_host_that_wait_for_a_gateway_are_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbound, "MAX_HELD_BYTES", 10)
    bench = Bench(assignment("a"))
    for number, data in ((1, b"12345678"), (3, b"123")):
        open_ = pb.Open(target=pb.Target(type="elsewhere"))
        bench.host.dispatch(pb.Frame(kind=pb.OPEN, call=number, data=data, open=open_))
    bench.host.dispatch(pb.Frame(kind=pb.DATA, call=1, data=b"90"))
    assert codes(bench.to_host()) == [(3, "OVERLOADED", pb.DELIVERED_NO)]
    bench.host.dispatch(pb.Frame(kind=pb.DATA, call=1, data=b"1"))
    assert codes(bench.to_host()) == [(1, "OVERLOADED", pb.DELIVERED_NO)]
    bench.host.dispatch(pb.Frame(kind=pb.OPEN, call=5, data=b"1234567890", open=open_))
    assert (bench.to_host(), bench.outbound.held) == ([], 1)
