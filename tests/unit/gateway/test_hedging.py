"""Hedged calls: the first answer counts, the loser is told, and nothing is hedged that must not be."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from gateway_memory import FakeInstance, Script, echo, make_core, opening, refuse, request, silent, turns

from switchboard_gateway.core import Core
from switchboard_gateway.instances import Route
from switchboard_routing.breaker import State
from switchboard_routing.policy import BreakerPolicy, HedgingPolicy, KeyAffinity, RetryPolicy
from switchboard_wire.calls import OutgoingCall, Payload, new_open
from switchboard_wire.errors import SwitchboardError
from switchboard_wire.peer import Peer
from switchboard_wire.v1 import frames_pb2 as pb

AGENT = ("default", "echo")


def hedged(delay_s: float = 0.02, attempts: int = 2, **fields: Any) -> Core:
    fields.setdefault("retries", RetryPolicy(attempts=1, idempotent=True))
    return make_core(hedging=HedgingPolicy(delay_s, attempts), **fields)


def in_turn(*scripts: Script) -> Callable[[Peer, pb.Frame], None]:
    """One script for each OPEN, whichever instance it reaches; the last for all further ones."""
    left = list(scripts)

    def script(peer: Peer, frame: pb.Frame) -> None:
        (left.pop(0) if len(left) > 1 else left[0])(peer, frame)

    return script


async def pair(core: Core, *scripts: Script) -> list[FakeInstance]:
    script = in_turn(*scripts)
    instances = [FakeInstance(core, name, script) for name in ("a", "b")]
    await turns()
    return instances


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.001)


def route(core: Core) -> Route:
    return core.table.routes[AGENT]


def hedges(core: Core) -> tuple[float, float]:
    """(made, won)"""
    metrics = core.metrics
    return metrics.hedges.values.get(AGENT, 0), metrics.hedges_won.values.get(AGENT, 0)


def cancels(*instances: FakeInstance) -> list[str]:
    return [i.name for i in instances for frame in i.later if frame.kind == pb.CANCEL]


async def test_when_the_answer_takes_long_another_instances_counts_and_the_first_is_told() -> None:
    core = hedged()
    instances = await pair(core, silent, echo)
    close = await request(core)
    assert close.data == b"hello"
    await turns()
    first = next(i for i in instances if i.name != close.instance)
    assert cancels(*instances) == [first.name]
    assert first.opened[0].open.attempt == 0
    assert hedges(core) == (1, 1)
    assert [i.in_flight for i in route(core).instances] == [0, 0]


async def test_when_the_first_answers_after_all_the_hedge_is_told() -> None:
    core = hedged()
    instances = await pair(core, silent)
    waiting = asyncio.ensure_future(request(core))
    await until(lambda: all(i.opened for i in instances))
    first = min(instances, key=lambda i: i.opened[0].open.attempt)
    echo(first.peer, first.opened[0])
    assert (await waiting).instance == first.name
    await turns()
    assert cancels(*instances) == [i.name for i in instances if i is not first]
    assert hedges(core) == (1, 0)
    assert [i.in_flight for i in route(core).instances] == [0, 0]


async def test_a_quick_answer_needs_no_hedge() -> None:
    core = hedged(delay_s=30)
    await pair(core, echo)
    await request(core)
    assert hedges(core) == (0, 0)


async def test_the_failure_of_a_hedged_attempt_leaves_the_call_to_its_hedge() -> None:
    core = hedged()
    instances = await pair(core, silent)
    waiting = asyncio.ensure_future(request(core))
    await until(lambda: all(i.opened for i in instances))
    first, second = sorted(instances, key=lambda i: i.opened[0].open.attempt)
    refuse(pb.NODE_UNAVAILABLE, pb.DELIVERED_MAYBE)(first.peer, first.opened[0])
    await turns()
    assert not waiting.done()
    echo(second.peer, second.opened[0])
    assert (await waiting).instance == second.name
    assert [len(i.opened) for i in instances] == [1, 1]


async def test_the_failure_of_a_hedge_is_not_the_calls() -> None:
    core = hedged()
    instances = await pair(core, silent, refuse(pb.PROCESSING_ERROR, pb.DELIVERED_YES))
    waiting = asyncio.ensure_future(request(core))
    await until(lambda: all(i.opened for i in instances))
    first = min(instances, key=lambda i: i.opened[0].open.attempt)
    await turns()
    echo(first.peer, first.opened[0])
    assert (await waiting).instance == first.name


async def test_a_final_error_ends_the_call_at_once() -> None:
    core = hedged()
    instances = await pair(core, silent)
    waiting = asyncio.ensure_future(request(core))
    await until(lambda: all(i.opened for i in instances))
    first = min(instances, key=lambda i: i.opened[0].open.attempt)
    refuse(pb.VALIDATION_FAILED, pb.DELIVERED_YES)(first.peer, first.opened[0])
    with pytest.raises(SwitchboardError, match="VALIDATION_FAILED"):
        await waiting
    await turns()
    assert cancels(*instances) == [i.name for i in instances if i is not first]


async def test_a_hedge_may_stream_its_answer() -> None:
    def stream(peer: Peer, frame: pb.Frame) -> None:
        for piece in (b"one", b"two"):
            peer.send(pb.Frame(kind=pb.DATA, call=frame.call, data=piece))
        peer.send(pb.Frame(kind=pb.CLOSE, call=frame.call))

    core = hedged()
    instances = await pair(core, silent, stream)
    call = OutgoingCall(core.attach_local("test"), new_open(opening(), Payload(b"x"), end=True))
    assert [piece.data async for piece in call.pieces()] == [b"one", b"two"]
    assert len(cancels(*instances)) == 1


async def test_up_to_so_many_attempts_are_under_way() -> None:
    core = hedged(attempts=3)
    instances = [FakeInstance(core, name, silent) for name in "abcd"]
    await turns()
    waiting = asyncio.ensure_future(request(core, opening(deadline_ms=400)))
    with pytest.raises(SwitchboardError, match="DEADLINE_EXCEEDED"):
        await waiting
    await turns()
    assert sorted(len(i.opened) for i in instances) == [0, 1, 1, 1]
    assert len(cancels(*instances)) == 3
    assert {i.in_flight for i in route(core).instances} == {0}


async def not_hedged(core: Core, **fields: Any) -> None:
    """Wait for the deadline: long after the delay, one instance alone has the call."""
    instances = await pair(core, silent)
    end = fields.pop("end", True)
    call = OutgoingCall(core.attach_local("test"), new_open(opening(deadline_ms=150, **fields), Payload(b"x"), end=end))
    with pytest.raises(SwitchboardError, match="DEADLINE_EXCEEDED"):
        await call.result()
    assert sum(len(i.opened) for i in instances) == 1
    assert hedges(core) == (0, 0)


async def test_a_request_with_more_to_come_is_not_hedged() -> None:
    await not_hedged(hedged(), end=False)


async def test_an_agent_that_does_not_ask_for_it_is_not_hedged() -> None:
    await not_hedged(make_core(retries=RetryPolicy(idempotent=True)))


async def test_a_hedge_needs_room_in_the_retry_budget() -> None:
    core = hedged()
    while route(core).may_retry(core.now()):
        pass
    await not_hedged(core)
    assert core.metrics.budget_spent.values[AGENT] == 1


async def test_a_key_that_must_stay_is_not_hedged() -> None:
    core = hedged(key_affinity=KeyAffinity.REQUIRED)
    instances = await pair(core, silent)
    open_ = pb.Open(target=pb.Target(type="echo", key="k"), deadline_ms=150)
    with pytest.raises(SwitchboardError, match="DEADLINE_EXCEEDED"):
        await request(core, open_)
    assert sum(len(i.opened) for i in instances) == 1


async def test_no_hedge_goes_to_an_instance_that_is_busy() -> None:
    core = hedged(concurrency=1)
    instances = await pair(core, silent)
    calls = [asyncio.ensure_future(request(core, opening(deadline_ms=150))) for _ in range(2)]
    await asyncio.gather(*calls, return_exceptions=True)
    assert [len(i.opened) for i in instances] == [1, 1]


async def test_a_hung_instance_is_left_alone_even_though_hedges_answer_for_it() -> None:
    core = hedged(breaker=BreakerPolicy(consecutive_failures=2), key_affinity=KeyAffinity.PREFERRED)
    hung, well = FakeInstance(core, "hung", silent), FakeInstance(core, "well", echo)
    third = FakeInstance(core, "third", echo)
    await turns()
    async with asyncio.timeout(60):
        while route(core).circuits()[State.OPEN] == 0:
            assert (await request(core)).instance in ("well", "third")
    assert [i.name for i in route(core).breakers] == ["hung"]
    assert (len(hung.opened), len(well.opened) + len(third.opened) >= 2) == (2, True)
