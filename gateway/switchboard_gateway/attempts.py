"""The attempts of one call: an instance gets it, answers or fails, and another may follow.

Frames pass as they come; only numbers change. What could be needed for another attempt is kept until the callee grants
credit or answers, as gRPC's retry buffer does (gRFC A6).
"""

from typing import TYPE_CHECKING

from switchboard_gateway.faults import try_too_long
from switchboard_gateway.instances import Instance
from switchboard_gateway.selection import Selected
from switchboard_routing.breaker import Breaker, Outcome, judge
from switchboard_routing.retry import Failure, Next, decide
from switchboard_wire.credit import CreditLine
from switchboard_wire.deadlines import Token
from switchboard_wire.errors import ErrorValue
from switchboard_wire.peer import Peer, copy_frame
from switchboard_wire.v1 import frames_pb2 as pb

if TYPE_CHECKING:
    from switchboard_gateway.core import Core
    from switchboard_gateway.hedging import Race

# An instance that refused although it is listed: its draining is on the way
REFUSED_PAUSE_S = 0.05
# A deadline speaks against an instance only when it had this many times its usual time: callers choose their deadlines
SLOWNESS = 2.0

SUCCESS, FAILURE, NEUTRAL = Outcome.SUCCESS, Outcome.FAILURE, Outcome.NEUTRAL


class Attempts:
    """The instances' side of a call; `RoutedCall`, which is made of it, is the caller's.

    One class in three files, with hedging.py: a call is one object, because every message makes one. frame: the OPEN,
    kept for another attempt. later: DATA and HALF_CLOSE after it, kept likewise. `start` sets what is only declared.
    """

    __slots__ = (
        "_client", "_core", "_credit", "_deadline", "_frame", "_instance", "_last", "_later", "_link_call", "_number",
        "_pause", "_probe", "_race", "_refused", "_replayable", "_selected", "_sent", "_size", "_started", "_token",
        "_tried", "_tries", "_try_token", "over",
    )  # fmt: skip

    _deadline: float
    _started: float
    _token: Token

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
        self._race: Race | None = None
        self._last: ErrorValue | None = None
        self.over = False

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
        if route.own is not None:
            route.began(instance)
        if route.breakers:
            self._probe = route.probe(instance)
        self._link_call = instance.peer.open(frame, self._on_answer)
        if self._later:
            for later in self._later:
                self._forward(copy_frame(later))
        if route.policy.is_timed:
            self._limit_attempt()

    def _again_open(self, now: float) -> pb.Frame:
        """The OPEN of another attempt; a copy, as the one before may still wait to be written on another link."""
        frame = copy_frame(self._frame)
        frame.open.deadline_ms = max(1, int((self._deadline - now) * 1000))
        frame.open.attempt = self._tries + self._refused
        return frame

    def _forward(self, frame: pb.Frame) -> None:
        assert self._instance is not None
        frame.call = self._link_call
        self._instance.peer.send(frame)

    def _on_answer(self, frame: pb.Frame) -> None:
        if self._instance is None:  # it was given up while the answer was on its way
            return
        kind = frame.kind
        if kind == pb.CLOSE:
            self._on_close(self._instance, frame)
            return
        self._replayable = False
        self._later = None
        if self._race is not None:
            self._end_race()
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
            self._leave(instance, self._verdict(error, instance, self._sent), error.retry_after_ms / 1000)
            self._failed(instance, error)
            return
        self._leave(instance, SUCCESS)
        instance.answered(self._core.now() - self._sent)
        frame.call = self._number
        if not instance.is_relay:  # the gateway that relayed it has said who answered
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
        if route.own is not None:
            route.ended(instance)
        if route.breakers or outcome is FAILURE:
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
        if self._goes_on_hedged(error):
            return
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
        core.release_next()  # the instance that it left has room for one that waits

    def _go_on(self) -> None:
        self._pause = None
        self._attempt(self._core.now())

    def _try_expired(self) -> None:
        self._try_token = None
        instance = self._instance
        if instance is None:
            return
        self._abandon(FAILURE)
        self._failed(instance, try_too_long(instance.name))

    def _verdict(self, error: ErrorValue, instance: Instance, sent: float) -> Outcome:
        """What an error says about the instance that has sent it. A sidecar's clock may be the first to tell the end of
        a deadline: that says what the gateway's own would, and nothing at all of a call that only stood in line."""
        if error.code != pb.DEADLINE_EXCEEDED:
            return judge(error.code)
        return NEUTRAL if error.delivered == pb.DELIVERED_NO else _outcome_after(instance, self._core.now() - sent)

    def _outcome_of_waiting(self, now: float) -> Outcome:
        """What an answer that did not come says of the instance that has the call, if one has."""
        instance = self._instance
        return NEUTRAL if instance is None else _outcome_after(instance, now - self._sent)

    def _abandon(self, outcome: Outcome) -> None:
        """Tell the instance, if one has the call, that nobody waits any more."""
        instance = self._instance
        if instance is not None:
            instance.peer.send(pb.Frame(kind=pb.CANCEL, call=self._link_call))
            self._leave(instance, outcome)

    def _limit_attempt(self) -> None:
        """An attempt began whose Agent limits its time, or has it hedged."""
        raise NotImplementedError

    def _goes_on_hedged(self, error: ErrorValue) -> bool:
        """Whether another attempt that is under way takes the place of the one that failed."""
        raise NotImplementedError

    def _end_race(self) -> None:
        """The call's own attempt answers, or the call is over: cancel the others."""
        raise NotImplementedError

    def _find_nobody(self, now: float) -> None:
        """No instance may have the call now."""
        raise NotImplementedError

    def _finish(self, error: ErrorValue) -> None:
        """No attempt follows: the caller gets the error."""
        raise NotImplementedError

    def _end(self, code: str) -> None:
        """The caller has its answer."""
        raise NotImplementedError


def _outcome_after(instance: Instance, seconds: float) -> Outcome:
    """What no answer for so long says: nothing, when the caller gave less time than answers usually take."""
    return NEUTRAL if seconds < SLOWNESS * instance.latency_s else FAILURE
