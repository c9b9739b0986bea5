"""One call on its way through the gateway: to an instance, back, or to another instance.

Frames pass as they come; only numbers change. What could be needed for another attempt is kept until the callee grants
credit or answers, as gRPC's retry buffer does (gRFC A6).
"""

from typing import TYPE_CHECKING

from switchboard_gateway.instances import Instance
from switchboard_gateway.selection import Selected, too_large
from switchboard_routing.retry import Failure, Next, decide
from switchboard_runtime.metrics import Histogram
from switchboard_wire.credit import CreditLine
from switchboard_wire.deadlines import Token
from switchboard_wire.errors import ErrorValue, SwitchboardError, close_with, name_of
from switchboard_wire.peer import Peer
from switchboard_wire.v1 import frames_pb2 as pb

if TYPE_CHECKING:
    from switchboard_gateway.core import Core

# A caller learns of an Agent without instances before its own deadline, with time for another try
HELD_RETRY_MS = 1000


class RoutedCall:
    """A call between a client's peer and an instance's.

    frame: the OPEN, kept for another attempt. later: DATA and HALF_CLOSE after it, kept likewise.
    """

    __slots__ = (
        "_client",
        "_core",
        "_credit",
        "_deadline",
        "_frame",
        "_instance",
        "_later",
        "_link_call",
        "_number",
        "_refused",
        "_replayable",
        "_selected",
        "_sent",
        "_size",
        "_started",
        "_token",
        "_tried",
        "_tries",
        "_try_token",
        "over",
    )

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
        self.over = False

    def start(self) -> None:
        """Begin: the caller is accepted, the deadline runs."""
        core = self._core
        core.active += 1
        self._client.accept(self._number, self._on_request)
        opened = self._frame.open
        wanted = opened.deadline_ms / 1000
        policy = self._selected.route.policy
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
        self._attempt()

    def resume(self) -> None:
        """Try again after a hold."""
        self._tried = ()
        self._attempt()

    # To the instance

    def _attempt(self) -> None:
        core = self._core
        selected = self._selected
        instance = core.pick(selected.route, selected.key, selected, self._tried)
        if instance is None:
            self._hold()
            return
        frame = self._frame
        if self._tries or self._refused:
            remaining = self._deadline - self._core.now()
            frame.open.deadline_ms = max(1, int(remaining * 1000))
            frame.open.attempt = self._tries + self._refused
        self._instance = instance
        instance.in_flight += 1
        self._sent = self._core.now() if self._tries else self._started
        self._link_call = instance.peer.open(frame, self._on_answer)
        if self._later:
            for later in self._later:
                self._forward(later)
        per_try = selected.route.policy.retries.per_try_timeout_s
        if per_try is not None:
            self._try_token = core.deadlines.add(per_try, self._try_expired)

    def _forward(self, frame: pb.Frame) -> None:
        assert self._instance is not None
        frame.call = self._link_call
        self._instance.peer.send(frame)

    def _hold(self) -> None:
        self._instance = None
        if not self._core.hold(self, len(self._frame.data)):
            message = "too many calls wait for instances already"
            self._finish(ErrorValue(pb.OVERLOADED, message, retry_after_ms=HELD_RETRY_MS))

    def _on_request(self, frame: pb.Frame) -> None:
        """A later frame of the caller's: DATA, HALF_CLOSE, WINDOW, CANCEL."""
        kind = frame.kind
        if kind == pb.CANCEL:
            self._abandon()
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
            self._abandon()
            self._finish(ErrorValue(pb.VALIDATION_FAILED, "DATA was sent without credit"))
        elif self._size > policy.max_payload_bytes:
            self._abandon()
            error = too_large(policy.max_payload_bytes, policy.name)
            assert isinstance(error, SwitchboardError)
            self._finish(error.error)
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
        kind = frame.kind
        if kind == pb.CLOSE:
            self._on_close(frame)
            return
        self._replayable = False
        self._later = None
        if kind == pb.WINDOW and self._credit is not None:
            self._credit.grant(frame.credit)
        frame.call = self._number
        self._client.send(frame)

    def _on_close(self, frame: pb.Frame) -> None:
        instance = self._instance
        assert instance is not None
        self._leave(instance)
        if frame.HasField("error"):
            self._failed(instance, ErrorValue.from_wire(frame.error))
            return
        instance.answered(self._core.now() - self._sent)
        frame.call = self._number
        frame.instance = instance.name
        self._client.send(frame)
        self._end("OK")

    def _leave(self, instance: Instance) -> None:
        instance.peer.forget(self._link_call)
        instance.in_flight -= 1
        self._instance = None
        if self._try_token is not None:
            self._core.deadlines.remove(self._try_token)
            self._try_token = None

    def _failed(self, instance: Instance, error: ErrorValue) -> None:
        undelivered = error.delivered == pb.DELIVERED_NO
        if undelivered:
            self._refused += 1
        else:
            self._tries += 1
        self._tried = (*self._tried, instance)
        route = self._selected.route
        failure = Failure(
            code=error.code,
            delivered=error.delivered,
            tried=self._tries,
            refused=self._refused,
            idempotent=self._frame.open.idempotent,
            others=any(candidate not in self._tried for candidate in route.instances),
            remaining_s=self._deadline - self._core.now(),
        )
        decision = decide(failure, route.policy.retries, self._core.rng)
        if decision.next is Next.GIVE_UP or not self._replayable:
            self._finish(error)
            return
        self._core.metrics.retries.add((route.policy.namespace, route.policy.name))
        if not failure.others:
            self._tried = ()  # all were tried: an idempotent call may meet one again
        if decision.next is Next.HOLD and instance in route.instances:
            # It refused and is still listed: its draining is on the way; ask again in a moment rather than at once
            self._core.deadlines.add(0.05, self._again)
        elif decision.delay_s:
            self._core.deadlines.add(decision.delay_s, self._again)
        else:
            self._attempt()

    def _again(self) -> None:
        if not self.over:
            self._attempt()

    # The end

    def _try_expired(self) -> None:
        self._try_token = None
        instance = self._instance
        if instance is None or self.over:
            return
        self._abandon()
        message = f"no answer within perTryTimeoutSeconds by {instance.name}"
        self._failed(instance, ErrorValue(pb.NODE_UNAVAILABLE, message, delivered=pb.DELIVERED_MAYBE))

    def _expire(self) -> None:
        policy = self._selected.route.policy
        seconds = f"{self._deadline - self._started:.3g} s"
        if self._instance is None and not self._tries:
            message = f"Agent {policy.name!r} had no instance that could take the call within {seconds}"
            self._finish(ErrorValue(pb.AGENT_OFFLINE, message, retry_after_ms=HELD_RETRY_MS))
            return
        self._abandon()
        message = f"Agent {policy.name!r} did not answer within {seconds}"
        self._finish(ErrorValue(pb.DEADLINE_EXCEEDED, message, delivered=pb.DELIVERED_MAYBE))

    def _abandon(self) -> None:
        """Tell the instance, if one has the call, that nobody waits any more."""
        instance = self._instance
        if instance is not None:
            instance.peer.send(pb.Frame(kind=pb.CANCEL, call=self._link_call))
            self._leave(instance)

    def _finish(self, error: ErrorValue) -> None:
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
        policy = self._selected.route.policy
        key = (policy.namespace, policy.name)
        metrics = core.metrics
        metrics.calls.add((*key, code))
        histogram = metrics.seconds.get(key)
        if histogram is None:
            histogram = metrics.seconds[key] = Histogram()
        histogram.observe(self._core.now() - self._started)
