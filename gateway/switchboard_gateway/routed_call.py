"""One call on its way through the gateway: to an instance, back, or to another instance.

Frames pass as they come; only numbers change. What could be needed for another attempt is kept until the callee grants
credit or answers, as gRPC's retry buffer does (gRFC A6).
"""

from typing import TYPE_CHECKING

from switchboard_gateway.faults import (
    circuit_open,
    deleted,
    instance_gone,
    offline,
    too_large,
    too_late,
    too_many_wait,
    try_too_long,
    without_credit,
)
from switchboard_gateway.instances import Instance, Route
from switchboard_gateway.selection import Selected
from switchboard_routing.breaker import Breaker, Outcome, judge
from switchboard_routing.retry import Failure, Next, decide
from switchboard_runtime.metrics import Histogram
from switchboard_wire.credit import CreditLine
from switchboard_wire.deadlines import Token
from switchboard_wire.errors import ErrorValue, close_with, name_of
from switchboard_wire.peer import Peer
from switchboard_wire.v1 import frames_pb2 as pb

if TYPE_CHECKING:
    from switchboard_gateway.core import Core

# An instance that refused although it is listed: its draining is on the way
REFUSED_PAUSE_S = 0.05
# A caller's own clock may end the call a little before the deadline does
NEAR_DEADLINE = 0.95
# A deadline speaks against an instance only when it had this many times its usual time: callers choose their deadlines
SLOWNESS = 2.0

_SUCCESS, _FAILURE, _NEUTRAL = Outcome.SUCCESS, Outcome.FAILURE, Outcome.NEUTRAL


class RoutedCall:
    """A call between a client's peer and an instance's.

    frame: the OPEN, kept for another attempt. later: DATA and HALF_CLOSE after it, kept likewise.
    """

    __slots__ = (
        "_client", "_core", "_credit", "_deadline", "_frame", "_instance", "_last", "_later", "_link_call", "_number",
        "_pause", "_probe", "_refused", "_replayable", "_selected", "_sent", "_size", "_started", "_token", "_tried",
        "_tries", "_try_token", "over",
    )  # fmt: skip

    def __init__(self, core: "Core", client: Peer, frame: pb.Frame, selected: Selected) -> None:
        self._core = core
        self._client = client
        self._frame = frame
        self._number = frame.call
        self._selected = selected
        self._instance: Instance | None = None
        self._link_call = 0
        self._later: list[pb.Frame] | None = None
        self._credit: CreditLine | None = None
        self._size = 0
        self._replayable = True
        self._tried: tuple[Instance, ...] = ()
        self._tries = 0
        self._refused = 0
        self._try_token: Token | None = None
        self._pause: Token | None = None
        self._probe: Breaker | None = None
        self._last: ErrorValue | None = None
        self.over = False

    @property
    def route(self) -> Route:
        return self._selected.route

    @property
    def rank(self) -> tuple[bool, int]:
        """Among calls that wait: whether other calls wait for this one, and its priority; higher goes first."""
        opened = self._frame.open
        return bool(opened.chain), opened.priority

    def start(self) -> None:
        """Begin: the caller is accepted, the deadline runs."""
        core = self._core
        core.active += 1
        self._client.accept(self._number, self._on_request)
        opened = self._frame.open
        wanted = opened.deadline_ms / 1000
        route = self._selected.route
        route.calls += 1
        policy = route.policy
        timeout = wanted if wanted else policy.timeout_s
        self._started = now = core.now()
        self._deadline = now + timeout
        self._token = core.deadlines.add(timeout, self._expire)
        opened.hops += 1
        opened.agent = policy.name
        if not wanted:
            opened.deadline_ms = int(timeout * 1000)
        if policy.retries.idempotent:
            opened.idempotent = True
        self._attempt(now)

    def resume(self) -> None:
        """Try again after a hold."""
        self._tried = ()
        self._last = None
        self._attempt(self._core.now())

    def orphan(self) -> None:
        """The Agent was deleted while the call waited."""
        self._finish(deleted(self.route.policy.name))

    # To the instance

    def _attempt(self, now: float) -> None:
        selected = self._selected
        instance = selected.choose(self._tried, now)
        if instance is None:
            self._find_nobody(now)
            return
        frame = self._frame
        if now > self._started or self._tries or self._refused:
            frame = self._again_open(now)
        self._instance = instance
        instance.in_flight += 1
        self._sent = now
        route = selected.route
        if route.breakers:
            self._probe = route.probe(instance)
        self._link_call = instance.peer.open(frame, self._on_answer)
        if self._later:
            for later in self._later:
                self._forward(_copy(later))
        per_try = route.policy.retries.per_try_timeout_s
        if per_try is not None:
            self._try_token = self._core.deadlines.add(per_try, self._try_expired)

    def _again_open(self, now: float) -> pb.Frame:
        """The OPEN of another attempt; a copy, as the one before may still wait to be written on another link."""
        frame = _copy(self._frame)
        frame.open.deadline_ms = max(1, int((self._deadline - now) * 1000))
        frame.open.attempt = self._tries + self._refused
        return frame

    def _forward(self, frame: pb.Frame) -> None:
        assert self._instance is not None
        frame.call = self._link_call
        self._instance.peer.send(frame)

    def _find_nobody(self, now: float) -> None:
        """No instance may have the call: it waits for one to come, or learns why those that are there may not."""
        selected = self._selected
        route = selected.route
        only = selected.only
        if only is not None and only not in route.instances:
            self._finish(instance_gone(only.name))
        elif not route.instances:
            size = len(self._frame.data) + sum(len(frame.data) for frame in self._later or ())
            if not self._core.hold(self, size):
                self._finish(too_many_wait())
        elif self._last is not None:
            self._finish(self._last)
        else:
            wait_s = route.next_attempt_s(selected.strategy, selected.key, now)
            self._finish(circuit_open(route.policy.name, wait_s))

    def _on_request(self, frame: pb.Frame) -> None:
        """A later frame of the caller's: DATA, HALF_CLOSE, WINDOW, CANCEL."""
        if self.over:  # both ends on one stream that is lost: each is told, and the first ended it
            return
        kind = frame.kind
        if kind == pb.CANCEL:
            now = self._core.now()
            near = now - self._started >= NEAR_DEADLINE * (self._deadline - self._started)
            self._abandon(self._outcome_of_waiting(now) if near else _NEUTRAL)
            self._end("CANCELLED")
        elif kind == pb.WINDOW:
            if self._instance is not None:
                self._forward(frame)
        elif kind == pb.DATA:
            self._on_request_data(frame)
        elif kind == pb.HALF_CLOSE:
            self._pass_on(frame)

    def _on_request_data(self, frame: pb.Frame) -> None:
        if self._credit is None:
            self._credit = CreditLine()
            self._size = len(self._frame.data)
        self._size += len(frame.data)
        policy = self._selected.route.policy
        if not self._credit.spend(len(frame.data)):
            self._abandon(_NEUTRAL)
            self._finish(without_credit())
        elif self._size > policy.max_payload_bytes:
            self._abandon(_NEUTRAL)
            self._finish(too_large(policy.max_payload_bytes, policy.name))
        elif self._instance is None and not self._core.held.grow(self, len(frame.data)):
            self._finish(too_many_wait())
        else:
            self._pass_on(frame)

    def _pass_on(self, frame: pb.Frame) -> None:
        if self._replayable:
            if self._later is None:
                self._later = []
            self._later.append(frame)
        if self._instance is not None:
            self._forward(frame)

    # From the instance

    def _on_answer(self, frame: pb.Frame) -> None:
        if self._instance is None:  # it was given up while the answer was on its way
            return
        kind = frame.kind
        if kind == pb.CLOSE:
            self._on_close(self._instance, frame)
            return
        self._replayable = False
        self._later = None
        if kind == pb.WINDOW:
            if self._credit is not None:
                self._credit.grant(frame.credit)
        elif self._try_token is not None:  # it answers: from here on the call's deadline counts
            self._core.deadlines.remove(self._try_token)
            self._try_token = None
        frame.call = self._number
        self._client.send(frame)

    def _on_close(self, instance: Instance, frame: pb.Frame) -> None:
        if frame.HasField("error"):
            error = ErrorValue.from_wire(frame.error)
            self._leave(instance, judge(error.code), error.retry_after_ms / 1000)
            self._failed(instance, error)
            return
        self._leave(instance, _SUCCESS)
        instance.answered(self._core.now() - self._sent)
        frame.call = self._number
        frame.instance = instance.name
        self._client.send(frame)
        self._end("OK")

    def _leave(self, instance: Instance, outcome: Outcome, retry_after_s: float = 0.0) -> None:
        instance.peer.forget(self._link_call)
        instance.in_flight -= 1
        self._instance = None
        if self._try_token is not None:
            self._core.deadlines.remove(self._try_token)
            self._try_token = None
        route = self._selected.route
        if route.breakers or outcome is _FAILURE:
            probe, self._probe = self._probe, None
            route.record(instance, outcome, probe, retry_after_s, self._core.now())

    def _failed(self, instance: Instance, error: ErrorValue) -> None:
        core, selected, route = self._core, self._selected, self._selected.route
        now = core.now()
        if error.delivered == pb.DELIVERED_NO:
            self._refused += 1
        else:
            self._tries += 1
        if error.code == pb.OVERLOADED:
            route.push_back(instance, error.retry_after_ms / 1000, now)
        self._tried = (*self._tried, instance)
        self._last = error
        failure = Failure(
            code=error.code,
            delivered=error.delivered,
            tried=self._tries,
            refused=self._refused,
            idempotent=self._frame.open.idempotent,
            others=bool(selected.able(self._tried, now)),
            remaining_s=self._deadline - now,
        )
        decision = decide(failure, route.policy.retries, core.rng)
        if decision.next is Next.GIVE_UP or not self._replayable:
            self._finish(error)
            return
        agent = (route.policy.namespace, route.policy.name)
        if error.delivered != pb.DELIVERED_NO and not route.may_retry(now):
            core.metrics.budget_spent.add(agent)
            self._finish(error)
            return
        core.metrics.retries.add(agent)
        if not failure.others:
            self._tried = ()  # all were tried: an idempotent call may meet one again
        pause = decision.delay_s
        if decision.next is Next.HOLD and instance in route.instances:
            pause = REFUSED_PAUSE_S
        if pause:
            self._pause = core.deadlines.add(pause, self._go_on)
        else:
            self._attempt(now)
        core.release()  # the instance that it left has room for one that waits

    def _go_on(self) -> None:
        self._pause = None
        self._attempt(self._core.now())

    # The end

    def _try_expired(self) -> None:
        self._try_token = None
        instance = self._instance
        if instance is None:
            return
        self._abandon(_FAILURE)
        self._failed(instance, try_too_long(instance.name))

    def _expire(self) -> None:
        if self.over:  # the end of a try came in the same tick, and was the end of the call
            return
        name, given_s = self.route.policy.name, self._deadline - self._started
        if self._instance is None and not self._tries:
            self._finish(offline(name, given_s))
            return
        self._abandon(self._outcome_of_waiting(self._core.now()))
        self._finish(too_late(name, given_s))

    def _outcome_of_waiting(self, now: float) -> Outcome:
        """What an answer that did not come says: nothing, when the caller gave less time than answers usually take."""
        instance = self._instance
        if instance is None or now - self._sent < SLOWNESS * instance.latency_s:
            return _NEUTRAL
        return _FAILURE

    def _abandon(self, outcome: Outcome) -> None:
        """Tell the instance, if one has the call, that nobody waits any more."""
        instance = self._instance
        if instance is not None:
            instance.peer.send(pb.Frame(kind=pb.CANCEL, call=self._link_call))
            self._leave(instance, outcome)

    def _finish(self, error: ErrorValue) -> None:
        if error.delivered != pb.DELIVERED_YES:
            self._core.note_refusal(self._frame.open.target, error)
        self._client.send(close_with(self._number, error))
        self._end(name_of(error.code))

    def _end(self, code: str) -> None:
        self.over = True
        core = self._core
        core.active -= 1
        if not core.active:
            core.quiet.set()
        self._client.forget(self._number)
        core.deadlines.remove(self._token)
        if self._pause is not None:
            core.deadlines.remove(self._pause)
        policy = self._selected.route.policy
        key = (policy.namespace, policy.name)
        metrics = core.metrics
        metrics.calls.add((*key, code))
        histogram = metrics.seconds.get(key)
        if histogram is None:
            histogram = metrics.seconds[key] = Histogram()
        histogram.observe(core.now() - self._started)
        if core.held.calls:
            core.unhold(self)
            core.release()


def _copy(frame: pb.Frame) -> pb.Frame:
    copied = pb.Frame()
    copied.CopyFrom(frame)
    return copied
