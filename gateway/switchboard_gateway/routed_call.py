"""One call on its way through the gateway: taken from a client, attempted at instances, answered once."""

from dataclasses import replace

from switchboard_gateway.attempts import NEUTRAL
from switchboard_gateway.faults import (
    circuit_open,
    deleted,
    instance_gone,
    offline,
    too_large,
    too_late,
    too_many_wait,
    without_credit,
)
from switchboard_gateway.hedging import HedgedAttempts
from switchboard_gateway.instances import Route
from switchboard_runtime.metrics import Histogram
from switchboard_wire.credit import CreditLine
from switchboard_wire.errors import ErrorValue, close_with, name_of
from switchboard_wire.limits import MAX_KEPT_FRAMES
from switchboard_wire.peer import copy_frame
from switchboard_wire.v1 import frames_pb2 as pb

# A caller's own clock may end the call a little before the deadline does
NEAR_DEADLINE = 0.95
# A frame as received keeps the memory of its whole batch. Most calls are over before a copy would pay
LONG_S = 1.0


class RoutedCall(HedgedAttempts):
    """A call between a client's peer and an instance's: the client's side of it."""

    __slots__ = ()

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
        if timeout > LONG_S:  # one entry at a time: most calls need no other
            self._token = core.deadlines.add(LONG_S, self._lasts)
        else:
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

    def _on_request(self, frame: pb.Frame) -> None:
        """A later frame of the caller's: DATA, HALF_CLOSE, WINDOW, CANCEL."""
        if self.over:  # both ends on one stream that is lost: each is told, and the first ended it
            return
        kind = frame.kind
        if kind == pb.CANCEL:
            now = self._core.now()
            near = now - self._started >= NEAR_DEADLINE * (self._deadline - self._started)
            self._abandon(self._outcome_of_waiting(now) if near else NEUTRAL)
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
            self._refuse_request(without_credit())
        elif self._size > policy.max_payload_bytes:
            self._refuse_request(too_large(policy.max_payload_bytes, policy.name))
        elif self._instance is None and not self._core.held.grow(self, frame.ByteSize()):
            self._finish(too_many_wait())
        else:
            self._pass_on(frame)

    def _refuse_request(self, error: ErrorValue) -> None:
        """The request itself cannot be; an instance that has its beginning may have begun."""
        if self._instance is not None:
            self._tries += 1
            self._abandon(NEUTRAL)
        self._finish(error)

    def _pass_on(self, frame: pb.Frame) -> None:
        if self._later is not None and len(self._later) >= MAX_KEPT_FRAMES:
            if self._instance is None:
                self._finish(too_many_wait())
                return
            self._replayable, self._later = False, None  # so many pieces are not kept for another attempt
        if self._replayable:
            if self._later is None:
                self._later = []
            lasts = self._core.now() - self._started > LONG_S
            self._later.append(copy_frame(frame) if lasts or self._instance is None else frame)
        if self._instance is not None:
            self._forward(frame)

    def _find_nobody(self, now: float) -> None:
        """No instance may have the call: it waits for one to come, or learns why those that are there may not."""
        selected = self._selected
        route = selected.route
        only = selected.only
        if only is not None and only not in route.instances:
            self._finish(instance_gone(only.name))
        elif not route.instances:
            self._frame = copy_frame(self._frame)  # as received, it keeps the memory of the whole batch that it came in
            size = self._frame.ByteSize() + sum(frame.ByteSize() for frame in self._later or ())
            if not self._core.hold(self, size):
                self._finish(too_many_wait())
        elif self._last is not None:
            self._finish(self._last)
        else:
            wait_s = route.next_attempt_s(selected.strategy, selected.key, now)
            self._finish(circuit_open(route.policy.name, wait_s))

    def _lasts(self) -> None:
        """The call takes long: copy what is kept for another attempt out of the batches in which it came."""
        if self.over:  # it ended in the same tick
            return
        core = self._core
        self._token = core.deadlines.add(max(0.0, self._deadline - core.now()), self._expire)
        self._frame = copy_frame(self._frame)
        if self._later:
            self._later = [copy_frame(frame) for frame in self._later]

    # The end

    def _expire(self) -> None:
        if self.over:  # the end of a try came in the same tick, and was the end of the call
            return
        name, given_s = self.route.policy.name, self._deadline - self._started
        if self._instance is None and not self._tries:
            self._finish(offline(name, given_s))
            return
        self._abandon(self._outcome_of_waiting(self._core.now()))
        self._finish(too_late(name, given_s))

    def _finish(self, error: ErrorValue) -> None:
        if self._tries and error.delivered == pb.DELIVERED_NO:  # the last attempt was refused, not those before it
            error = replace(error, delivered=pb.DELIVERED_MAYBE)
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
        if self._race is not None:
            self._end_race()
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
            core.release_next()
