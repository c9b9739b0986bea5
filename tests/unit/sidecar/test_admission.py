"""Who enters, who waits, who is turned away."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchboard_sidecar.admission import (
    MAX_RETRY_AFTER_MS,
    MIN_RETRY_AFTER_MS,
    Admission,
    Lane,
    waits_for_itself,
)


def enter(admission: Admission[str], lane: Lane[str], item: str, priority: int = 0) -> str:
    """What the deliverer does: in, queued or refused."""
    if admission.has_room(lane):
        admission.enter(lane)
        return "in"
    return "queued" if admission.wait(lane, priority, item) else "refused"


def test_the_node_bound_then_the_queue_then_no_more() -> None:
    admission: Admission[str] = Admission(concurrency=2, queue_length=1)
    lane: Lane[str] = Lane()
    assert [enter(admission, lane, name) for name in "abcd"] == ["in", "in", "queued", "refused"]


def test_an_agent_has_its_own_bound_within_the_nodes() -> None:
    admission: Admission[str] = Admission(concurrency=10, queue_length=10)
    small, other = Lane[str](1), Lane[str]()
    assert [enter(admission, small, "a"), enter(admission, small, "b"), enter(admission, other, "c")] == [
        "in",
        "queued",
        "in",
    ]


def test_a_full_agent_does_not_hold_up_another_ones_queue() -> None:
    admission: Admission[str] = Admission(concurrency=2, queue_length=10)
    full, other = Lane[str](1), Lane[str]()
    enter(admission, full, "a")
    enter(admission, other, "b")
    enter(admission, full, "c")
    enter(admission, other, "d")
    admission.leave(other)
    assert admission.next() == "d"
    assert admission.next() is None


def test_priority_first_then_the_order_of_arrival() -> None:
    admission: Admission[str] = Admission(concurrency=1, queue_length=10)
    lane: Lane[str] = Lane()
    enter(admission, lane, "running")
    for item, priority in (("first", 0), ("second", 0), ("urgent", 5), ("late", -1)):
        enter(admission, lane, item, priority)
    served = []
    while admission.queued:
        admission.leave(lane)
        served.append(admission.next())
    assert served == ["urgent", "first", "second", "late"]


def test_one_that_gives_up_leaves_its_place() -> None:
    admission: Admission[str] = Admission(concurrency=1, queue_length=2)
    lane: Lane[str] = Lane()
    enter(admission, lane, "running")
    ticket = admission.wait(lane, 0, "gives up")
    enter(admission, lane, "patient")
    assert ticket is not None
    admission.abandon(lane, ticket)
    admission.abandon(lane, ticket)
    assert admission.queued == 1
    admission.leave(lane)
    assert admission.next() == "patient"


def test_a_removed_agent_empties_its_queue() -> None:
    admission: Admission[str] = Admission(concurrency=1, queue_length=5)
    lane: Lane[str] = Lane()
    for item in "abc":
        enter(admission, lane, item)
    assert admission.flush(lane) == ["b", "c"]
    assert (admission.queued, admission.in_flight) == (0, 1)
    admission.leave(lane)
    assert admission.next() is None


@pytest.mark.parametrize(
    ("average_s", "waiting", "expected_ms"),
    [
        pytest.param(0.0, 0, 50, id="before the first answer a guess"),
        pytest.param(1.0, 3, 2000, id="what waits divided by the slots"),
        pytest.param(0.000001, 0, MIN_RETRY_AFTER_MS, id="never a busy loop"),
        pytest.param(3600.0, 9, MAX_RETRY_AFTER_MS, id="never out of sight"),
    ],
)
def test_retry_after_is_the_time_to_work_off_the_queue(average_s: float, waiting: int, expected_ms: int) -> None:
    admission: Admission[str] = Admission(concurrency=2, queue_length=10)
    lane: Lane[str] = Lane()
    if average_s:
        lane.answered(average_s)
    for item in range(2 + waiting):
        enter(admission, lane, str(item))
    assert admission.retry_after_ms(lane) == expected_ms


def test_the_average_follows_the_answers() -> None:
    lane: Lane[str] = Lane()
    lane.answered(1.0)
    for _ in range(100):
        lane.answered(0.1)
    assert lane.average_s == pytest.approx(0.1, abs=0.001)


@pytest.mark.parametrize(
    ("chain", "expected"),
    [
        pytest.param(["a/1", "b"], True, id="an agent of the chain holds a slot here"),
        pytest.param(["idle/1"], False, id="an agent of the chain is here but idle"),
        pytest.param(["elsewhere"], False, id="the chain is elsewhere"),
        pytest.param([], False, id="no chain"),
    ],
)
def test_a_call_waits_for_itself_when_its_chain_holds_a_slot_here(chain: list[str], expected: bool) -> None:
    busy, idle = Lane[str](), Lane[str]()
    busy.in_flight = 1
    assert waits_for_itself(chain, {"a": busy, "idle": idle}) is expected


@dataclass
class Model:
    """What must hold after any sequence of events, kept in the plainest way."""

    admission: Admission[int]
    lanes: list[Lane[int]]
    running: list[int] = field(default_factory=list)  # lane of each
    waiting: dict[int, tuple[int, int, int]] = field(default_factory=dict)  # item → (lane, -priority, arrival)
    tickets: dict[int, tuple[int, int]] = field(default_factory=dict)

    def settle(self) -> None:
        while (item := self.admission.next()) is not None:
            lane, priority, arrival = self.waiting.pop(item)
            better = [
                found for found in self.waiting.values() if found[1:] < (priority, arrival) and self._free(found[0])
            ]
            assert not better, "somebody was overtaken"
            self.running.append(lane)

    def _free(self, lane: int) -> bool:
        # before the slot was taken by the one served now, which may be of the same lane
        return self.running.count(lane) < self.lanes[lane].concurrency

    def check(self) -> None:
        assert self.admission.in_flight == len(self.running) <= self.admission.concurrency
        assert self.admission.queued == len(self.waiting) <= self.admission.queue_length
        for number, lane in enumerate(self.lanes):
            assert lane.in_flight == self.running.count(number) <= lane.concurrency
        if len(self.running) < self.admission.concurrency:
            idle = [item for item, (lane, _, _) in self.waiting.items() if self._free(lane)]
            assert not idle, "a slot is free and somebody who may have it waits"


events = st.lists(
    st.one_of(
        st.tuples(st.just("open"), st.integers(0, 2), st.integers(-1, 1)),
        st.tuples(st.just("end"), st.integers(0, 9), st.just(0)),
        st.tuples(st.just("cancel"), st.integers(0, 9), st.just(0)),
    ),
    max_size=80,
)


@given(events, st.integers(1, 4), st.integers(0, 5))
def test_bounds_hold_and_no_slot_is_idle_while_somebody_may_have_it(
    happened: list[tuple[str, int, int]], concurrency: int, queue_length: int
) -> None:
    model = Model(Admission(concurrency, queue_length), [Lane(1), Lane(2), Lane(0)])
    for item, (kind, number, priority) in enumerate(happened):
        if kind == "open":
            lane = model.lanes[number]
            if model.admission.has_room(lane):
                model.admission.enter(lane)
                model.running.append(number)
            elif ticket := model.admission.wait(lane, priority, item):
                model.waiting[item] = (number, *ticket)
                model.tickets[item] = ticket
        elif kind == "end" and model.running:
            model.admission.leave(model.lanes[model.running.pop(number % len(model.running))])
            model.settle()
        elif kind == "cancel" and model.waiting:
            gone = list(model.waiting)[number % len(model.waiting)]
            model.admission.abandon(model.lanes[model.waiting.pop(gone)[0]], model.tickets[gone])
        model.check()


def test_what_waits_is_bounded_in_bytes_whatever_its_number() -> None:
    admission: Admission[str] = Admission(concurrency=0, queue_length=100, max_bytes=10)
    lane: Lane[str] = Lane()
    first = admission.wait(lane, 0, "first", 4)
    assert first is not None
    assert admission.wait(lane, 0, "too large", 7) is None
    assert admission.grow(first, 6)
    assert not admission.grow(first, 1)
    assert admission.wait(lane, 0, "no room", 1) is None
    admission.abandon(lane, first)
    assert admission.queued_bytes == 0


@given(
    st.lists(st.tuples(st.sampled_from(["wait", "grow", "next", "abandon", "flush"]), st.integers(0, 9)), max_size=80)
)
def test_the_bytes_that_wait_are_those_of_the_items_that_wait(steps: list[tuple[str, int]]) -> None:
    admission: Admission[int] = Admission(concurrency=1 << 30, queue_length=5, max_bytes=20)
    lanes = [Lane[int](), Lane[int]()]
    kept: dict[int, tuple[int, tuple[int, int], int]] = {}  # item → (lane, ticket, bytes)
    for number, (step, size) in enumerate(steps):
        which = number % 2
        if step == "wait":
            ticket = admission.wait(lanes[which], size, number, size)
            if ticket is not None:
                kept[number] = which, ticket, size
        elif step == "next" and (item := admission.next()) is not None:
            del kept[item]
        elif step == "flush":
            for item in admission.flush(lanes[which]):
                del kept[item]
        elif kept:
            item = sorted(kept)[size % len(kept)]
            where, ticket, bytes_ = kept[item]
            if step == "abandon":
                admission.abandon(lanes[where], ticket)
                del kept[item]
            elif step == "grow" and admission.grow(ticket, size):
                kept[item] = where, ticket, bytes_ + size
        assert admission.queued == len(kept)
        assert admission.queued_bytes == sum(bytes_ for _, _, bytes_ in kept.values()) <= 20
