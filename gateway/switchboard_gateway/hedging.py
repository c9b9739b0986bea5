"""Hedged calls: when an answer takes long, another instance gets the call as well, and the first answer counts.

Only for Agents that ask for it, whose handlers bear a message twice; only for requests that are complete; only to an
instance that is free, and within the retry budget. Dean and Barroso, The Tail at Scale, 2013; gRFC A6.
"""

from dataclasses import dataclass, field
from functools import partial

from switchboard_gateway.attempts import NEUTRAL, Attempts
from switchboard_gateway.instances import Instance
from switchboard_routing.breaker import Breaker, Outcome
from switchboard_wire.deadlines import Token
from switchboard_wire.errors import ErrorValue, Retry, row_of
from switchboard_wire.v1 import frames_pb2 as pb


@dataclass(slots=True, eq=False)
class Hedge:
    """One attempt beside the call's own. probe: as in Attempts."""

    instance: Instance
    sent: float
    probe: Breaker | None
    link_call: int = 0


@dataclass(slots=True)
class Race:
    """What a call that may be hedged adds to it. made: hedges so far. token: of the next one."""

    made: int = 0
    token: Token | None = None
    hedges: list[Hedge] = field(default_factory=list)


class HedgedAttempts(Attempts):
    """Attempts of which several may be under way; one of them is the call's own, and it alone talks to the caller."""

    __slots__ = ()

    def _limit_attempt(self) -> None:
        selected = self._selected
        policy = selected.route.policy
        per_try = policy.retries.per_try_timeout_s
        if per_try is not None:
            self._try_token = self._core.deadlines.add(per_try, self._try_expired)
        if policy.hedging is not None and self._frame.end and selected.only is None:
            if self._race is None:
                self._race = Race()
            self._arm(self._race)

    def _arm(self, race: Race) -> None:
        hedging = self._selected.route.policy.hedging
        if hedging is not None and race.token is None and race.made + 1 < hedging.attempts:
            race.token = self._core.deadlines.add(hedging.delay_s, self._hedge)

    def _hedge(self) -> None:
        """The answer takes long: ask one more, if one is free and the budget allows it."""
        race, core, route = self._race, self._core, self._selected.route
        if race is None:
            return
        race.token = None
        if self._instance is None or not self._replayable:
            return
        now = core.now()
        asked = (*self._tried, self._instance, *[hedge.instance for hedge in race.hedges])
        instance = self._selected.choose(asked, now)
        if instance is None or not route.is_free(instance):
            return
        agent = (route.policy.namespace, route.policy.name)
        if not route.may_retry(now):
            core.metrics.budget_spent.add(agent)
            return
        race.made += 1
        core.metrics.hedges.add(agent)
        instance.in_flight += 1
        if route.own is not None:
            route.began(instance)
        hedge = Hedge(instance, now, route.probe(instance))
        race.hedges.append(hedge)
        frame = self._again_open(now)
        frame.open.attempt += race.made
        hedge.link_call = instance.peer.open(frame, partial(self._on_hedge_answer, hedge))
        self._arm(race)

    def _on_hedge_answer(self, hedge: Hedge, frame: pb.Frame) -> None:
        race, core = self._race, self._core
        if race is None or hedge not in race.hedges or frame.kind not in (pb.CLOSE, pb.DATA):
            return
        if frame.kind == pb.CLOSE and frame.HasField("error"):
            self._hedge_failed(race, hedge, ErrorValue.from_wire(frame.error))
            return
        policy = self._selected.route.policy
        core.metrics.hedges_won.add((policy.namespace, policy.name))
        self._abandon(self._outcome_of_waiting(core.now()))
        self._promote(race, hedge)
        self._on_answer(frame)
        core.release_next()  # the instance that was too slow has room for one that waits

    def _hedge_failed(self, race: Race, hedge: Hedge, error: ErrorValue) -> None:
        """The call's own attempt goes on; a final error is left for it to tell."""
        route = self._selected.route
        self._drop(race, hedge, self._verdict(error, hedge.instance, hedge.sent), error.retry_after_ms / 1000)
        if error.code == pb.OVERLOADED:
            route.push_back(hedge.instance, error.retry_after_ms / 1000, self._core.now())
        if error.delivered == pb.DELIVERED_NO:
            self._refused += 1
        else:
            self._tries += 1
        self._tried = (*self._tried, hedge.instance)
        self._core.release_next()

    def _goes_on_hedged(self, error: ErrorValue) -> bool:
        race = self._race
        if race is None:
            return False
        if race.hedges and row_of(error.code).retry is not Retry.NEVER:
            self._promote(race, race.hedges[0])
            self._core.release_next()
            return True
        if race.token is not None:  # its next attempt has the whole delay again
            self._core.deadlines.remove(race.token)
            race.token = None
        return False

    def _promote(self, race: Race, hedge: Hedge) -> None:
        """Make a hedge the call's own attempt."""
        race.hedges.remove(hedge)
        self._instance, self._sent, self._probe = hedge.instance, hedge.sent, hedge.probe
        self._link_call = hedge.link_call
        hedge.instance.peer.accept(hedge.link_call, self._on_answer)
        per_try = self._selected.route.policy.retries.per_try_timeout_s
        if per_try is not None:
            left_s = max(0.0, hedge.sent + per_try - self._core.now())
            self._try_token = self._core.deadlines.add(left_s, self._try_expired)

    def _end_race(self) -> None:
        race, self._race = self._race, None
        if race is None:
            return
        if race.token is not None:
            self._core.deadlines.remove(race.token)
        for hedge in list(race.hedges):
            hedge.instance.peer.send(pb.Frame(kind=pb.CANCEL, call=hedge.link_call))
            self._drop(race, hedge, NEUTRAL, 0.0)

    def _drop(self, race: Race, hedge: Hedge, outcome: Outcome, retry_after_s: float) -> None:
        instance, route = hedge.instance, self._selected.route
        race.hedges.remove(hedge)
        instance.peer.forget(hedge.link_call)
        instance.in_flight -= 1
        if route.own is not None:
            route.ended(instance)
        route.record(instance, outcome, hedge.probe, retry_after_s, self._core.now())
