"""Duplicates under an idempotency key: the handler sees a call once, every caller gets its answer."""

import random

import pytest
from sidecar_ends import assignment
from sidecar_memory import Bench

from switchboard_sidecar import duplicates
from switchboard_sidecar.answers_seen import KEEP_S
from switchboard_wire.errors import ErrorValue, close_with
from switchboard_wire.peer import Peer
from switchboard_wire.v1 import frames_pb2 as pb

KEY = "report-17"


def ends(frames: list[pb.Frame]) -> list[tuple[int, str, bytes]]:
    """(call, code, data) of each CLOSE."""
    return [(frame.call, pb.Code.Name(frame.error.code), frame.data) for frame in frames if frame.kind == pb.CLOSE]


def cancel(bench: Bench, number: int) -> None:
    bench.link.dispatch(pb.Frame(kind=pb.CANCEL, call=number))


def is_idle(bench: Bench) -> bool:
    keyed = bench.deliverer.duplicates
    counts = (len(keyed.running), keyed.joined, keyed.joined_bytes, bench.deliverer.busy)
    return counts == (0, 0, 0, 0) and bench.link.calls == {} == bench.host.calls


async def test_a_duplicate_while_the_first_runs_gets_its_answer() -> None:
    bench = Bench(assignment("a"))
    first, second = bench.open(idempotency_key=KEY), bench.open(idempotency_key=KEY)
    (opened,) = bench.to_host()
    bench.answer(opened.call, data=b"done", content_type="text/plain", headers={"x": "y"})
    closes = bench.to_gateway()
    assert ends(closes) == [(second, "OK", b"done"), (first, "OK", b"done")]
    assert {(close.content_type, close.headers["x"]) for close in closes} == {("text/plain", "y")}
    assert bench.roster.by_name["a"].duplicates == {"joined": 1}
    assert is_idle(bench)


async def test_a_duplicate_after_it_gets_the_remembered_answer_for_five_minutes() -> None:
    bench = Bench(assignment("a"))
    bench.open(idempotency_key=KEY)
    bench.answer(bench.to_host()[0].call, data=b"done")
    bench.to_gateway()
    bench.now += KEEP_S - 1
    again = bench.open(idempotency_key=KEY)
    assert (ends(bench.to_gateway()), bench.to_host()) == ([(again, "OK", b"done")], [])
    bench.now += 2
    bench.open(idempotency_key=KEY)
    assert len(bench.to_host()) == 1


@pytest.mark.parametrize("fields", [{}, {"idempotency_key": "another"}, {"idempotency_key": KEY, "principal": "eve"}])
async def test_other_keys_and_other_callers_are_calls_of_their_own(fields: dict[str, str]) -> None:
    bench = Bench(assignment("a"))
    bench.open(idempotency_key=KEY)
    bench.open(**fields)
    assert len(bench.to_host()) == 2


async def test_a_key_with_another_payload_is_refused() -> None:
    bench = Bench(assignment("a"))
    bench.open(idempotency_key=KEY)
    running = bench.open(idempotency_key=KEY, data=b"other")
    assert ends(bench.to_gateway()) == [(running, "VALIDATION_FAILED", b"")]
    bench.answer(bench.to_host()[0].call, data=b"done")
    bench.to_gateway()
    after = bench.open(idempotency_key=KEY, data=b"other")
    (close,) = bench.to_gateway()
    assert (close.call, close.error.message) == (
        after,
        "the idempotency key was used with another payload: take a new key",
    )


async def test_an_error_is_shared_by_those_who_wait_but_not_remembered() -> None:
    bench = Bench(assignment("a"))
    bench.open(idempotency_key=KEY)
    bench.open(idempotency_key=KEY)
    failed = ErrorValue(pb.PROCESSING_ERROR, "no", delivered=pb.DELIVERED_YES)
    bench.host.dispatch(close_with(bench.to_host()[0].call, failed))
    assert [code for _, code, _ in ends(bench.to_gateway())] == ["PROCESSING_ERROR"] * 2
    bench.open(idempotency_key=KEY)
    assert len(bench.to_host()) == 1


async def test_a_stream_is_not_shared_its_duplicate_is_handled_by_itself() -> None:
    bench = Bench(assignment("a"))
    first, second = bench.open(idempotency_key=KEY), bench.open(idempotency_key=KEY)
    (opened,) = bench.to_host()
    bench.host.dispatch(pb.Frame(kind=pb.DATA, call=opened.call, data=b"piece"))
    (anew,) = bench.to_host()
    bench.answer(opened.call)
    bench.answer(anew.call, data=b"whole")
    assert ends(bench.to_gateway()) == [(first, "OK", b""), (second, "OK", b"whole")]
    third = bench.open(idempotency_key=KEY)
    assert ends(bench.to_gateway()) == [(third, "OK", b"whole")]
    assert is_idle(bench)


async def test_a_caller_that_leaves_does_not_stop_the_handler_while_a_duplicate_waits() -> None:
    bench = Bench(assignment("a"))
    first, second = bench.open(idempotency_key=KEY), bench.open(idempotency_key=KEY)
    (opened,) = bench.to_host()
    cancel(bench, first)
    assert bench.to_host() == []
    bench.answer(opened.call, data=b"done")
    assert ends(bench.to_gateway()) == [(second, "OK", b"done")]
    assert is_idle(bench)


async def test_when_the_stream_of_all_callers_is_lost_the_handler_is_told() -> None:
    bench = Bench(assignment("a"))
    for _ in range(3):
        bench.open(idempotency_key=KEY)
    (opened,) = bench.to_host()
    bench.link.lose("cut")
    assert [(frame.kind, frame.call) for frame in bench.to_host()] == [(pb.CANCEL, opened.call)]
    assert is_idle(bench)


async def test_when_all_callers_leave_the_handler_is_told() -> None:
    bench = Bench(assignment("a"))
    numbers = [bench.open(idempotency_key=KEY) for _ in range(3)]
    (opened,) = bench.to_host()
    for number in numbers:
        cancel(bench, number)
    assert [(frame.kind, frame.call) for frame in bench.to_host()] == [(pb.CANCEL, opened.call)]
    assert is_idle(bench)


async def test_a_duplicate_of_a_call_that_left_before_its_turn_takes_its_place() -> None:
    bench = Bench(assignment("a"), concurrency=1)
    bench.open()
    first = bench.open(idempotency_key=KEY, deadline_ms=5000)
    second = bench.open(idempotency_key=KEY, deadline_ms=5000)
    bench.now += 1
    cancel(bench, first)
    bench.answer(bench.to_host()[0].call)
    (opened,) = bench.to_host()
    assert opened.open.deadline_ms == 4000
    bench.answer(opened.call, data=b"done")
    assert ends(bench.to_gateway())[-1] == (second, "OK", b"done")


async def test_a_call_refused_after_it_waited_leaves_nothing_behind() -> None:
    bench = Bench(assignment("a"), concurrency=1)
    bench.open()
    waiting, joined = bench.open(idempotency_key=KEY), bench.open(idempotency_key=KEY)
    bench.host.lose("the host died")
    codes = {number: code for number, code, _ in ends(bench.to_gateway())}
    assert (codes[waiting], codes[joined]) == ("NODE_UNAVAILABLE", "NODE_UNAVAILABLE")
    assert is_idle(bench)


async def test_a_payload_in_pieces_waits_with_its_duplicate() -> None:
    bench = Bench(assignment("a"))
    first = bench.open(idempotency_key=KEY, end=False)
    second = bench.open(idempotency_key=KEY, end=False)
    bench.link.dispatch(pb.Frame(kind=pb.DATA, call=second, data=b"more", end=True))
    cancel(bench, first)  # incomplete, so nobody could go on with it
    frames = bench.to_host()
    assert [pb.Kind.Name(frame.kind) for frame in frames] == ["OPEN", "CANCEL", "OPEN", "DATA"]
    bench.answer(frames[2].call, data=b"done")
    assert ends(bench.to_gateway()) == [(second, "OK", b"done")]


async def test_a_nested_duplicate_does_not_wait_for_itself() -> None:
    bench = Bench(assignment("a"))
    bench.open(idempotency_key=KEY)
    bench.open(idempotency_key=KEY, chain=["a"])
    assert len(bench.to_host()) == 2


@pytest.mark.interpreted
async def test_too_many_duplicates_are_shed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "MAX_JOINED", 1)
    bench = Bench(assignment("a"))
    bench.open(idempotency_key=KEY)
    bench.open(idempotency_key=KEY)
    shed = bench.open(idempotency_key=KEY)
    (close,) = bench.to_gateway()
    assert (close.call, close.error.code, close.error.delivered) == (shed, pb.OVERLOADED, pb.DELIVERED_NO)
    assert close.error.retry_after_ms > 0


@pytest.mark.parametrize("seed", range(30))
async def test_whatever_crosses_every_caller_gets_one_end(seed: int) -> None:
    dice = random.Random(seed)
    bench = Bench(assignment("a"), concurrency=2, queue_length=3)
    waiting: set[int] = set()
    inside: list[int] = []
    for _ in range(200):
        step = dice.random()
        if step < 0.45:
            end = dice.random() < 0.8
            number = bench.open(idempotency_key=dice.choice(["", "k", "l"]), end=end, ack=int(dice.random() < 0.1))
            waiting.add(number)
            if not end and dice.random() < 0.7:
                bench.link.dispatch(pb.Frame(kind=pb.DATA, call=number, end=True))
        elif step < 0.55 and waiting:
            number = dice.choice(sorted(waiting))
            waiting.discard(number)
            cancel(bench, number)
        elif step < 0.6:
            bench.now += 200
        elif step < 0.62:
            bench.host.lose("gone")
            inside.clear()
            bench.attach(Peer(bench.host.events, dialled=False, label="host"))
        elif inside:
            call = inside[dice.randrange(len(inside))]
            kind = dice.choice([pb.DATA, pb.CLOSE, pb.CLOSE, pb.CLOSE])
            failed = kind == pb.CLOSE and dice.random() < 0.3
            error = pb.Error(code=pb.PROCESSING_ERROR) if failed else None
            bench.host.dispatch(pb.Frame(kind=kind, call=call, error=error))
            if kind == pb.CLOSE:
                inside.remove(call)
        for frame in bench.to_host():
            if frame.kind == pb.OPEN:
                inside.append(frame.call)
            elif frame.kind == pb.CANCEL and frame.call in inside:
                inside.remove(frame.call)
        for number, _, _ in ends(bench.to_gateway()):
            assert number in waiting
            waiting.discard(number)
        assert bench.deliverer.duplicates.joined == sum(
            len(first.joined) for first in bench.deliverer.duplicates.running.values()
        )
    for number in waiting:
        cancel(bench, number)
    bench.host.lose("the end")
    assert is_idle(bench)
