"""The circuit breaker, by examples and as a state machine against a model."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from switchboard_routing.breaker import MAX_PUSH_BACK_S, Breaker, Outcome, State, judge
from switchboard_routing.policy import BreakerPolicy
from switchboard_wire.errors import ERROR_TABLE
from switchboard_wire.v1 import frames_pb2 as pb

POLICY = BreakerPolicy(consecutive_failures=3, open_s=30, successes_to_close=2)


def opened(now: float = 0.0, retry_after_s: float = 0.0) -> Breaker:
    breaker = Breaker(POLICY)
    for _ in range(3):
        breaker.failed(now, False, retry_after_s)
    return breaker


def test_it_opens_after_failures_in_a_row_and_not_before() -> None:
    breaker = Breaker(POLICY)
    assert [breaker.failed(0, False, 0) for _ in range(2)] == [False, False]
    breaker.succeeded(False)
    assert [breaker.failed(0, False, 0) for _ in range(3)] == [False, False, True]
    assert breaker.state is State.OPEN


def test_open_it_lets_nobody_through_until_its_time_has_come() -> None:
    breaker = opened()
    assert (breaker.look(29.9), breaker.admits(False)) == (False, False)
    assert (breaker.look(30.0), breaker.state, breaker.admits(False)) == (True, State.HALF_OPEN, True)


def test_half_open_it_takes_as_many_probes_as_it_needs_successes() -> None:
    breaker = opened()
    breaker.look(30.0)
    breaker.probes = 2
    assert not breaker.admits(False)


def test_successes_of_probes_close_it_and_a_failure_opens_it_again() -> None:
    breaker = opened()
    breaker.look(30.0)
    assert (breaker.succeeded(True), breaker.succeeded(True), breaker.state) == (False, True, State.CLOSED)
    breaker = opened()
    breaker.look(30.0)
    assert breaker.failed(31.0, True, 0)
    assert (breaker.state, breaker.until) == (State.OPEN, 61.0)


def test_attempts_from_before_it_opened_say_nothing() -> None:
    breaker = opened()
    assert not breaker.succeeded(False)
    breaker.look(30.0)
    assert not breaker.succeeded(False)
    assert not breaker.failed(31.0, False, 0)
    assert breaker.state is State.HALF_OPEN


@pytest.mark.parametrize(("asked", "until"), [(5, 30), (120, 120), (1e6, MAX_PUSH_BACK_S)])
def test_an_instance_that_asks_for_a_longer_rest_gets_it_within_bounds(asked: float, until: float) -> None:
    assert opened(retry_after_s=asked).until == until


def test_as_the_last_resort_an_open_one_takes_one_call_at_a_time_and_its_success_counts() -> None:
    breaker = opened()
    assert breaker.admits(True)
    breaker.probes = 1
    assert not breaker.admits(True)
    assert breaker.succeeded(True)
    assert (breaker.state, breaker.successes) == (State.HALF_OPEN, 1)


JUDGEMENTS = {
    pb.NODE_UNAVAILABLE: Outcome.FAILURE,
    pb.DEADLINE_EXCEEDED: Outcome.FAILURE,
    pb.PROCESSING_ERROR: Outcome.FAILURE,
    pb.INTERNAL_ERROR: Outcome.FAILURE,
    pb.OVERLOADED: Outcome.NEUTRAL,
    pb.CANCELLED: Outcome.NEUTRAL,
    pb.AGENT_OFFLINE: Outcome.NEUTRAL,
    pb.CIRCUIT_OPEN: Outcome.NEUTRAL,
    pb.ROUTING_ERROR: Outcome.NEUTRAL,
}


@pytest.mark.parametrize("code", ERROR_TABLE, ids=[pb.Code.Name(pb.Code.ValueType(code)) for code in ERROR_TABLE])
def test_only_faults_of_the_instance_count_as_failures(code: int) -> None:
    assert judge(code) is JUDGEMENTS.get(code, Outcome.SUCCESS)


class Machine(RuleBasedStateMachine):
    """Attempts begin, end in any order, time passes; the model is the contract in words."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.breaker = Breaker(POLICY)
        self.under_way: list[bool] = []  # whether each is a probe
        self.in_a_row = 0
        self.probe_successes = 0
        self.expected = State.CLOSED
        self.open_until = 0.0

    @rule(seconds=st.sampled_from([1.0, 10.0, 31.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.breaker.look(self.now)
        if self.expected is State.OPEN and self.now >= self.open_until:
            self.expected, self.probe_successes = State.HALF_OPEN, 0

    @rule(last_resort=st.booleans())
    def begin(self, last_resort: bool) -> None:
        if self.breaker.admits(last_resort):
            probe = self.breaker.state is not State.CLOSED
            self.breaker.probes += probe
            self.under_way.append(probe)

    @precondition(lambda self: self.under_way)
    @rule(which=st.integers(0, 50))
    def succeed(self, which: int) -> None:
        probe = self._end(which)
        before = self.breaker.state
        assert self.breaker.succeeded(probe) == (before is not self.breaker.state)
        if self.expected is State.CLOSED:
            self.in_a_row = 0
        elif probe:
            self.probe_successes = 1 if self.expected is State.OPEN else self.probe_successes + 1
            closes = self.probe_successes >= POLICY.successes_to_close
            self.expected = State.CLOSED if closes else State.HALF_OPEN
            self.in_a_row = 0

    @precondition(lambda self: self.under_way)
    @rule(which=st.integers(0, 50), asked=st.sampled_from([0.0, 60.0]))
    def fail(self, which: int, asked: float) -> None:
        probe = self._end(which)
        before = self.breaker.state
        assert self.breaker.failed(self.now, probe, asked) == (before is not self.breaker.state)
        if self.expected is State.CLOSED:
            self.in_a_row += 1
            opens = self.in_a_row >= POLICY.consecutive_failures
        else:
            opens = self.expected is State.HALF_OPEN and probe
        if opens:
            self.expected, self.open_until = State.OPEN, self.now + max(POLICY.open_s, asked)

    def _end(self, which: int) -> bool:
        probe = self.under_way.pop(which % len(self.under_way))
        self.breaker.probes -= probe
        return probe

    @invariant()
    def it_is_where_the_model_says(self) -> None:
        assert self.breaker.state is self.expected

    @invariant()
    def probes_are_bounded(self) -> None:
        assert 0 <= self.breaker.probes <= POLICY.successes_to_close

    @invariant()
    def nobody_waits_for_ever(self) -> None:
        """Once its time has come and nothing is under way, it lets a call through."""
        if not self.breaker.probes and (self.expected is not State.OPEN or self.now >= self.open_until):
            assert self.breaker.admits(False)


Machine.TestCase.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
TestMachine = Machine.TestCase
