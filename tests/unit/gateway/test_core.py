"""The core between a client and instances in memory: whatever instances do, the caller gets exactly one end."""

import asyncio
import contextlib
import threading
from collections.abc import Callable

import pytest
from gateway_memory import FakeInstance, echo, make_core, opening, policy, refuse, request, silent, turns

from switchboard_gateway.core import Core
from switchboard_gateway.links import Link
from switchboard_routing.policy import BreakerPolicy, Capability, RetryPolicy, Strategy
from switchboard_wire.calls import OutgoingCall, Payload, call_unary, new_open
from switchboard_wire.errors import SwitchboardError
from switchboard_wire.limits import MAX_KEPT_FRAMES
from switchboard_wire.peer import LocalPeer, Peer
from switchboard_wire.v1 import frames_pb2 as pb


@pytest.fixture
async def core() -> Core:
    return make_core()


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


async def test_calls_that_wait_for_room_go_on_once_their_instance_announces_more_of_it(core: Core) -> None:
    waiting = [asyncio.ensure_future(request(core)) for _ in range(3)]
    await turns()
    instance = FakeInstance(core, "late", silent, capacity=pb.Capacity(concurrency=1, queue=0))
    await turns()
    assert (len(instance.opened), len(core.held)) == (1, 2)
    instance.peer.send(pb.Frame(kind=pb.HELLO, hello=pb.Hello(capacity=pb.Capacity(concurrency=8, queue=0))))
    await turns()
    assert (len(instance.opened), len(core.held)) == (3, 0)
    for call in waiting:
        call.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


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


# Circuits


async def test_a_failing_instance_is_left_alone_and_the_others_answer() -> None:
    core = make_core(breaker=BreakerPolicy(2, 30, 1))
    failing = FakeInstance(core, "failing", refuse(pb.PROCESSING_ERROR, pb.DELIVERED_YES))
    FakeInstance(core, "well", echo)
    await turns()
    for _ in range(40):
        with contextlib.suppress(SwitchboardError):
            await request(core)
    assert len(failing.opened) == 2
    assert core.metrics.circuit_changes.values == {("default", "echo", "open"): 1}
    assert core.metrics.circuits.values["default", "echo", "open"] == 1


async def test_a_hung_instance_is_left_alone_once_calls_timed_out_there() -> None:
    core = make_core(breaker=BreakerPolicy(consecutive_failures=3), strategy=Strategy.ROUND_ROBIN)
    hung, _, _ = (FakeInstance(core, name, script) for name, script in (("a", silent), ("b", echo), ("c", echo)))
    await turns()
    for _ in range(9):  # a third of them to the one that accepts and never answers
        with contextlib.suppress(SwitchboardError):
            await request(core, opening(deadline_ms=20))
    assert len(hung.opened) == 3
    assert {(await request(core)).instance for _ in range(6)} == {"b", "c"}
    assert len(hung.opened) == 3


async def test_an_open_circuit_names_its_next_attempt() -> None:
    core = make_core(breaker=BreakerPolicy(1, 30, 1))
    FakeInstance(core, "only", silent)
    await turns()
    assert (await fails(core, opening(deadline_ms=20))).code == "DEADLINE_EXCEEDED"
    probe = asyncio.ensure_future(fails(core, opening(deadline_ms=5000)))
    await turns()
    error = await fails(core)
    assert (error.code, error.error.delivered) == ("CIRCUIT_OPEN", pb.DELIVERED_NO)
    assert error.retry_after_s == pytest.approx(30, abs=1)
    assert "next attempt in" in error.message
    probe.cancel()


async def test_a_circuit_can_be_reset() -> None:
    core = make_core(breaker=BreakerPolicy(1, 30, 1))
    answering = [False]

    def script(peer: Peer, frame: pb.Frame) -> None:
        (echo if answering[0] else refuse(pb.INTERNAL_ERROR, pb.DELIVERED_YES))(peer, frame)

    FakeInstance(core, "a", script)
    await turns()
    await fails(core)
    assert core.table.routes["default", "echo"].breakers
    assert core.reset_circuits("default", "echo")
    assert not core.reset_circuits("default", "missing")
    assert core.metrics.circuits.values["default", "echo", "open"] == 0
    answering[0] = True
    assert (await request(core)).data == b"hello"


async def test_a_deadline_shorter_than_usual_answers_says_nothing_about_the_instance() -> None:
    core = make_core(breaker=BreakerPolicy(1, 30, 1))
    FakeInstance(core, "slow", silent)
    await turns()
    next(iter(core.table.instances.values())).latency_s = 10.0
    assert (await fails(core, opening(deadline_ms=20))).code == "DEADLINE_EXCEEDED"
    assert core.table.routes["default", "echo"].breakers == {}


# Retries


async def test_retries_stop_when_the_budget_is_spent() -> None:
    retries = RetryPolicy(attempts=10, initial_backoff_s=0.0001, max_backoff_s=0.0001, idempotent=True)
    core = make_core(retries=retries, breaker=BreakerPolicy(1000, 30, 1))
    failing = FakeInstance(core, "a", refuse(pb.PROCESSING_ERROR, pb.DELIVERED_YES))
    await turns()
    for _ in range(20):
        assert (await fails(core)).code == "PROCESSING_ERROR"
    retried = len(failing.opened) - 20
    assert 20 <= retried <= 30  # of 180 that the policy alone would allow
    assert sum(core.metrics.budget_spent.values.values()) > 0


async def test_an_attempt_over_its_own_time_goes_elsewhere(core: Core) -> None:
    core.set_directory([policy(retries=RetryPolicy(per_try_timeout_s=0.02, initial_backoff_s=0.001, idempotent=True))])
    hung = FakeInstance(core, "hung", silent)
    FakeInstance(core, "well", echo)
    await turns()
    for _ in range(5):
        assert (await request(core)).instance == "well"
    await turns()
    assert {frame.kind for frame in hung.later} <= {pb.CANCEL}


async def test_a_copy_of_the_call_goes_elsewhere_while_the_first_still_waits_to_be_written(core: Core) -> None:
    core.set_directory([policy(retries=RetryPolicy(per_try_timeout_s=0.02, initial_backoff_s=0.001, idempotent=True))])
    stuck = Peer(Link(core), dialled=False)
    hosted = pb.Hosted(agents=[pb.HostedAgent(name="echo", type="echo", state=pb.HOSTED_READY)])
    hello = pb.Hello(namespace="default", node="pool", instance="stuck", pod_uid="stuck", hosted=hosted)
    stuck.receive(pb.Batch(frames=[pb.Frame(kind=pb.HELLO, hello=hello)]).SerializeToString())
    waiting = asyncio.ensure_future(request(core))
    await turns()
    FakeInstance(core, "other", echo)
    assert (await waiting).instance == "other"
    sent = pb.Batch.FromString(stuck.outbox.take()).frames
    assert [(frame.kind, frame.call) for frame in sent] == [(pb.HELLO, 0), (pb.OPEN, 2), (pb.CANCEL, 2)]


# Held calls


async def test_of_calls_that_wait_the_more_important_go_first(core: Core) -> None:
    waiting = [asyncio.ensure_future(request(core, opening(priority=p), str(p).encode())) for p in (0, 5, 1, 5)]
    await turns()
    late = FakeInstance(core, "late", echo)
    await asyncio.gather(*waiting)
    assert [frame.data for frame in late.opened] == [b"5", b"5", b"1", b"0"]


async def test_a_call_that_ends_while_it_waits_leaves_the_hold(core: Core) -> None:
    waiting = asyncio.ensure_future(request(core))
    await turns()
    assert (len(core.held), core.held.bytes > 5) == (1, True)
    waiting.cancel()
    await turns()
    assert (len(core.held), core.held.bytes) == (0, 0)


async def test_payload_that_comes_while_a_call_waits_counts(core: Core) -> None:
    client = core.attach_local("test")
    call = OutgoingCall(client, new_open(opening(), Payload(b"one"), end=False))
    await turns()
    before = core.held.bytes
    await call.send(b"three")
    await turns()
    assert 5 <= core.held.bytes - before < 50
    call.cancel()


async def test_all_that_a_waiting_call_carries_counts_and_not_its_payload_alone(core: Core) -> None:
    waiting = asyncio.ensure_future(request(core, opening(message_id="x" * 100_000)))
    await turns()
    assert core.held.bytes > 100_000
    waiting.cancel()


async def test_pieces_that_wait_are_bounded_in_number_however_small(core: Core) -> None:
    client = core.attach_local("test")
    told: list[pb.Frame] = []
    number = client.open(pb.Frame(kind=pb.OPEN, open=opening()), told.append)
    for _ in range(MAX_KEPT_FRAMES + 1):
        client.send(pb.Frame(kind=pb.DATA, call=number))
    await turns()
    assert [frame.error.code for frame in told] == [pb.OVERLOADED]
    assert (len(core.held), core.held.bytes) == (0, 0)


async def test_a_caller_in_a_hurry_opens_nobodys_circuit_though_the_sidecar_tells_of_the_deadline(core: Core) -> None:
    core.set_directory([policy(breaker=BreakerPolicy(2, 60.0))])
    instance = FakeInstance(core, "a", refuse(pb.DEADLINE_EXCEEDED, pb.DELIVERED_YES))
    await turns()
    route = core.table.routes["default", "echo"]
    [known] = route.instances
    known.latency_s = 5.0
    for _ in range(4):
        assert (await fails(core)).code == "DEADLINE_EXCEEDED"
    assert not route.breakers
    known.latency_s = 0.0
    for _ in range(2):
        await fails(core)
    assert route.breakers, "one that is slow by its own measure is left alone"
    assert len(instance.opened) == 6


async def test_circuits_of_instances_that_left_are_not_counted_any_more(core: Core) -> None:
    told: list[str] = []
    core.on_circuit = lambda _, agent: told.append(agent)
    core.set_directory([policy(breaker=BreakerPolicy(1, 60.0))])
    failing = FakeInstance(core, "a", refuse(pb.PROCESSING_ERROR, pb.DELIVERED_YES))
    await turns()
    await fails(core)
    FakeInstance(core, "b", echo)
    await turns()
    assert (core.metrics.circuits.values["default", "echo", "open"], told) == (1, ["echo"])
    failing.die()
    await turns()
    assert (core.metrics.circuits.values["default", "echo", "open"], told) == (0, ["echo", "echo"])


async def test_a_call_that_an_instance_may_have_had_is_never_said_to_be_undelivered(core: Core) -> None:
    core.set_directory([policy(retries=RetryPolicy(idempotent=True, initial_backoff_s=0.001, max_backoff_s=0.002))])
    scripts = [refuse(pb.NODE_UNAVAILABLE, pb.DELIVERED_MAYBE), refuse(pb.OVERLOADED), refuse(pb.OVERLOADED)]

    def first_lost(peer: Peer, frame: pb.Frame) -> None:
        (scripts.pop(0) if scripts else refuse(pb.OVERLOADED))(peer, frame)

    FakeInstance(core, "a", first_lost)
    FakeInstance(core, "b", first_lost)
    await turns()
    error = await fails(core)
    assert (error.code, error.error.delivered) == ("OVERLOADED", pb.DELIVERED_MAYBE)


async def test_no_more_calls_are_let_in_than_an_instance_takes(core: Core) -> None:
    waiting = [asyncio.ensure_future(request(core)) for _ in range(5)]
    await turns()
    answers: list[Callable[[], None]] = []
    late = FakeInstance(
        core, "late", lambda peer, frame: answers.append(lambda: echo(peer, frame)), capacity=pb.Capacity(concurrency=2)
    )
    await turns()
    assert (len(late.opened), len(core.held)) == (2, 3)
    while answers:
        answers.pop()()
        await turns()
    assert {close.data for close in await asyncio.gather(*waiting)} == {b"hello"}


async def test_an_instance_whose_bounds_change_says_hello_again(core: Core) -> None:
    instance = FakeInstance(core, "a", echo, capacity=pb.Capacity(concurrency=2, queue=5))
    await turns()
    again = pb.Hello(namespace="else", instance="b", capacity=pb.Capacity(concurrency=8, queue=10))
    instance.peer.send(pb.Frame(kind=pb.HELLO, hello=again))
    await turns()
    (known,) = core.table.instances.values()
    assert (known.name, known.namespace, known.concurrency, known.full) == ("a", "default", 8, 18)


async def test_a_nested_call_is_let_in_without_room_since_what_takes_the_room_may_wait_for_it(core: Core) -> None:
    core.set_directory([policy(), policy(name="outer", type="outer")])
    full = pb.Capacity(concurrency=1)
    late = FakeInstance(core, "late", silent, agents=("outer",), capacity=full)
    await turns()
    outer = asyncio.ensure_future(fails(core, opening("outer", deadline_ms=2000)))
    inner = opening(deadline_ms=2000, chain=["outer"])
    nested = asyncio.ensure_future(call_unary(late.peer, inner, Payload(b"x")))
    plain = asyncio.ensure_future(fails(core, opening(deadline_ms=2000, priority=9)))
    await turns()
    assert len(core.held) == 2
    hosted = pb.Hosted(agents=[pb.HostedAgent(name=a, type=a, state=pb.HOSTED_READY) for a in ("outer", "echo")])
    late.peer.send(pb.Frame(kind=pb.HOSTED, hosted=hosted))
    await turns()
    assert [frame.open.agent for frame in late.opened] == ["outer", "echo"]
    assert (list(late.opened[1].open.chain), len(core.held)) == (["outer"], 1)
    for task in (outer, nested, plain):
        task.cancel()


async def test_a_held_call_learns_that_its_agent_was_deleted(core: Core) -> None:
    waiting = asyncio.ensure_future(fails(core))
    await turns()
    core.set_directory([])
    assert (await waiting).code == "AGENT_NOT_FOUND"


async def test_a_held_call_tells_its_instance_the_time_that_is_left(core: Core) -> None:
    waiting = asyncio.ensure_future(request(core, opening(deadline_ms=5000)))
    await turns()
    await asyncio.get_running_loop().run_in_executor(None, threading.Event().wait, 0.05)
    late = FakeInstance(core, "late", echo)
    await waiting
    assert late.opened[0].open.deadline_ms <= 4960


# Where calls go


async def test_calls_stay_in_the_gateways_zone(core: Core) -> None:
    FakeInstance(core, "near", echo)
    FakeInstance(core, "far", echo)
    await turns()
    core.set_zones({"near": "a", "far": "b"}, "a")
    assert {(await request(core)).instance for _ in range(20)} == {"near"}


async def test_an_agent_with_a_small_limit_uses_the_other_zone_while_its_own_is_busy() -> None:
    core = make_core(concurrency=1)
    near, _ = FakeInstance(core, "near", silent), FakeInstance(core, "far", echo)
    await turns()
    core.set_zones({"near": "a", "far": "b"}, own="a")
    waiting = asyncio.ensure_future(request(core))
    await turns()
    assert [(await request(core)).instance for _ in range(5)] == ["far"] * 5
    waiting.cancel()
    await turns()
    near.script = echo
    assert (await request(core)).instance == "near"


async def test_an_instance_of_a_node_with_weight_zero_gets_no_weighted_calls(core: Core) -> None:
    core.set_directory([policy(strategy=Strategy.WEIGHTED_RANDOM, nodes=None)])
    FakeInstance(core, "a", echo)
    FakeInstance(core, "b", echo, node="spare")
    await turns()
    core.set_node_weights({("default", "spare"): 0})
    assert {(await request(core)).instance for _ in range(20)} == {"a"}


async def test_load_reports_move_weighted_calls_away(core: Core) -> None:
    core.set_directory([policy(strategy=Strategy.WEIGHTED_ROUND_ROBIN)])
    for name, cpu in (("idle", 0.0), ("hot", 0.9)):
        instance = FakeInstance(core, name, echo)
        instance.peer.send(pb.Frame(kind=pb.PING, ping=pb.Ping(number=1, load=pb.Load(cpu=cpu))))
    await turns()
    found = [(await request(core)).instance for _ in range(110)]
    assert found.count("idle") == pytest.approx(100, abs=3)


async def test_a_header_can_keep_calls_together(core: Core) -> None:
    core.set_directory([policy(strategy=Strategy.CONSISTENT_HASH, hash_header="X-User")])
    for number in range(4):
        FakeInstance(core, f"i{number}", echo)
    await turns()
    for user in ("ann", "bob", "cid"):
        assert len({(await request(core, opening(headers={"x-user": user}))).instance for _ in range(8)}) == 1
    assert len({(await request(core, opening())).instance for _ in range(8)}) == 4


async def test_a_strategy_can_be_named_per_request(core: Core) -> None:
    for number in range(3):
        FakeInstance(core, f"i{number}", echo)
    await turns()
    found = [(await request(core, opening(strategy="RoundRobin"))).instance for _ in range(9)]
    assert found[:3] * 3 == found
    assert (await fails(core, opening(strategy="Best"))).code == "VALIDATION_FAILED"


async def test_a_capability_is_found_by_a_range_of_versions(core: Core) -> None:
    old = policy(name="old", type="old", capabilities=(Capability("sum", "1.4.0"),))
    new = policy(name="new", type="new", capabilities=(Capability("sum", "2.0.0"),))
    core.set_directory([old, new])
    instance = FakeInstance(core, "a", echo, agents=("old", "new"))
    await turns()

    def wanted(versions: str) -> pb.Open:
        return pb.Open(target=pb.Target(capability="sum", version_range=versions))

    for _ in range(5):
        await request(core, wanted(">=1.2,<2"))
    assert {frame.open.agent for frame in instance.opened} == {"old"}
    error = await fails(core, wanted(">=3"))
    assert (error.code, "there is 1.4.0, 2.0.0" in error.message) == ("AGENT_NOT_FOUND", True)
    assert (await fails(core, wanted("newest"))).code == "VALIDATION_FAILED"


async def test_versions_of_a_type_share_its_calls_by_weight_and_weight_zero_takes_none(core: Core) -> None:
    blue = policy(name="blue", version="1.0.0", weight=100)
    green = policy(name="green", version="2.0.0", weight=0)
    core.set_directory([blue, green])
    instance = FakeInstance(core, "a", echo, agents=("blue", "green"))
    await turns()
    for _ in range(20):
        await request(core)
    assert {frame.open.agent for frame in instance.opened} == {"blue"}


async def test_an_instance_calls_under_types_that_it_hosts_and_that_are_bound_to_its_node(core: Core) -> None:
    bound = policy(name="asker", type="asker", nodes=frozenset({"pool"}))
    elsewhere = policy(name="boss", type="boss", nodes=frozenset({"other"}))
    core.set_directory([policy(), bound, elsewhere])
    callee = FakeInstance(core, "callee", echo)
    caller = FakeInstance(core, "caller", echo, agents=("asker", "boss", "own"))
    await turns()
    for claimed, believed in (("asker", "asker"), ("echo", ""), ("boss", ""), ("own", "")):
        opened = opening(source=pb.AgentId(namespace="elsewhere", type=claimed, key="k"))
        await call_unary(caller.peer, opened, Payload(b"x"))
        source = callee.opened[-1].open.source
        assert (source.namespace, source.type) == ("default", believed)


async def test_code_may_register_agents_of_undeclared_types_where_the_node_says_so(core: Core) -> None:
    core.set_dynamic_nodes({("default", "pool")})
    callee = FakeInstance(core, "callee", echo)
    caller = FakeInstance(core, "caller", echo, agents=("own",))
    await turns()
    await call_unary(caller.peer, opening(source=pb.AgentId(type="own")), Payload(b"x"))
    assert callee.opened[-1].open.source.type == "own"


async def test_a_client_cannot_claim_that_agents_wait_for_its_call(core: Core) -> None:
    instance = FakeInstance(core, "a", echo)
    await turns()
    await request(core, opening(chain=["echo"], source=pb.AgentId(type="echo")))
    assert (list(instance.opened[0].open.chain), instance.opened[0].open.source.type) == ([], "")
