"""The instances of one Agent, with all that decides which of them gets a call.

Balancing, zones, key affinity, circuit breakers, push-back and the retry budget meet here. Lists are made anew when
something changes; a call's first attempt costs a few comparisons, whatever the state of the circuits.
"""

import math
from collections.abc import Callable, Iterable
from typing import Final, Generic

from switchboard_routing.affinity import Hashing, Homes, hashing_of
from switchboard_routing.balance import Balancer, C, Rng
from switchboard_routing.breaker import MAX_PUSH_BACK_S, Breaker, Outcome, State
from switchboard_routing.budget import RetryBudget
from switchboard_routing.policy import AgentPolicy, Strategy

# Told to callers that met a half-open circuit whose probes are all under way: these end soon
PROBE_RETRY_S: Final = 1.0


class Lineup(Generic[C]):
    """Who may get an attempt; never changed. all: of any zone; near: the own zone's, or all when it has none.

    rested: whether these may be asked although others were, too; not so when all that are left ask to be left alone.
    """

    __slots__ = ("all", "homes", "near", "rested")

    def __init__(self, all_: list[C], near: list[C], homes: Homes[C], *, rested: bool) -> None:
        self.all = all_
        self.near = near
        self.homes = homes
        self.rested = rested


class Pool(Generic[C]):
    """One Agent and the instances that can answer for it, by name. One task owns it.

    on_change: told of each circuit that opens, turns half-open or closes. calls: of the Agent so far, counted by the
    owner; they fill the retry budget. breakers: of instances that failed lately, and of no others: an empty mapping
    means that every circuit is closed. own: the Agent's calls under way per instance, of an Agent with a limit of its
    own; of others None, and nobody counts.
    """

    __slots__ = (
        "_balancer",
        "_budget",
        "_closed",
        "_homes",
        "_lineup",
        "_next_look",
        "_on_change",
        "_panics",
        "_pushed",
        "_suspects",
        "_zone",
        "breakers",
        "calls",
        "instances",
        "own",
        "policy",
    )

    def __init__(self, policy: AgentPolicy, rng: Rng, on_change: Callable[[C, State], None] | None = None) -> None:
        self.policy = policy
        self._on_change = on_change
        self.instances: list[C] = []
        self.breakers: dict[C, Breaker] = {}
        self.calls = 0
        self.own: dict[C, int] | None = None
        self._balancer: Balancer[C] = Balancer(rng)
        self._budget = RetryBudget()
        self._pushed: dict[C, float] = {}
        self._zone = ""
        self._homes: Homes[C] = Homes()
        self._sort()

    # Membership

    def update(self, policy: AgentPolicy, instances: Iterable[C], zone: str) -> None:
        """Take the policy, all instances that can answer, and the zone of the caller's gateway."""
        changed = policy.breaker != self.policy.breaker
        self.policy = policy
        former, self.instances = self.instances, sorted(instances, key=lambda instance: instance.name)
        if self.instances != former:
            self._homes = Homes(self.instances)
        self._zone = zone
        members = set(self.instances)
        # Gone, or new under the same name: what it did before says nothing
        self.breakers = {} if changed else {i: breaker for i, breaker in self.breakers.items() if i in members}
        self._pushed = {i: until for i, until in self._pushed.items() if i in members}
        own = self.own or {}
        self.own = None if policy.concurrency is None else {i: count for i, count in own.items() if i in members}
        self._sort()

    @property
    def suspects(self) -> list[C]:
        """The instances whose circuit is not closed."""
        return self._suspects

    def reset(self) -> None:
        """Close every circuit and forget every failure and push-back."""
        self.breakers.clear()
        self._pushed.clear()
        self._sort()

    def _sort(self) -> None:
        self._suspects = [i for i, breaker in self.breakers.items() if breaker.state is not State.CLOSED]
        suspects = set(self._suspects)
        self._closed = [i for i in self.instances if i not in suspects] if suspects else self.instances
        # So many at once are rather a sign of something else that fails, and the rest could not carry the load
        self._panics = 2 * len(self._closed) < len(self.instances)
        self._lineup: Lineup[C] | None = None
        ends = [breaker.until for i in self._suspects if (breaker := self.breakers[i]).state is State.OPEN]
        self._next_look = min([*ends, *self._pushed.values()], default=math.inf)

    def _first(self, now: float) -> Lineup[C]:
        """Who may get a first attempt; kept until something of it changes."""
        if self._next_look <= now:
            self._look(now)
        lineup = self._lineup
        if lineup is None:
            admitted = [i for i in self.instances if self._admits(i)] if self._suspects else self.instances
            rested = [i for i in admitted if i not in self._pushed] if self._pushed else admitted
            lineup = self._lineup = self._lineup_of(rested or admitted, rested=bool(rested))
        return lineup

    def _lineup_of(self, able: list[C], *, rested: bool = True) -> Lineup[C]:
        homes = self._homes if len(able) == len(self.instances) else Homes(able)
        return Lineup(able, self._nearest(able), homes, rested=rested)

    def _nearest(self, instances: list[C]) -> list[C]:
        if not self._zone:
            return instances
        return [instance for instance in instances if instance.zone == self._zone] or instances

    @property
    def room(self) -> int:
        """Calls that could go out now without being refused for want of room, as far as is known."""
        return sum([max(0, instance.full - instance.in_flight) for instance in self._closed or self.instances])

    # Choice

    def choose(self, strategy: Strategy, key: str, tried: tuple[C, ...], now: float) -> C | None:
        """The instance that gets the call; None when no instance is there that was not tried and whose circuit lets it.

        The zone's own come first while they have room; an instance that is full is passed over while others are not.
        """
        lineup = self._first(now) if not tried else self._lineup_of(self.able(strategy, key, tried, now))
        near = lineup.near
        if not near:
            return None
        if key:
            hashing = hashing_of(strategy, self.policy.key_affinity)
            if hashing is Hashing.STRICT:
                return next(iter(self.able(strategy, key, tried, now)), None)
            if hashing is Hashing.BOUNDED:
                return lineup.homes.bounded(key)
        chosen = near[0] if len(near) == 1 else self._balancer.choose(strategy, near)
        if chosen.in_flight < chosen.free and (self.own is None or self.is_free(chosen)):
            return chosen
        return self._spill(strategy, chosen, near, lineup.all)

    def _spill(self, strategy: Strategy, chosen: C, near: list[C], all_: list[C]) -> C:
        """Instead of one that is busy: a free one of the zone, a free one elsewhere, one with room, or it after all."""
        if len(all_) == 1:
            return chosen
        found = self._free(near)
        if not found and len(all_) > len(near):
            found = self._free(all_)
        if not found and (chosen.in_flight >= chosen.full or self.own is not None):
            found = [i for i in near if i.in_flight < i.full] or [i for i in all_ if i.in_flight < i.full]
            found = self._in_shortest_line(found)
        return self._balancer.choose(strategy, found) if found else chosen

    def is_free(self, instance: C) -> bool:
        """Whether a call would not have to wait there."""
        return bool(self._free([instance]))

    def _free(self, instances: list[C]) -> list[C]:
        """Those in which a call would not have to wait."""
        own, limit = self.own, self.policy.concurrency
        if own is None or limit is None:
            return [i for i in instances if i.in_flight < i.free]
        return [i for i in instances if i.in_flight < i.free and own.get(i, 0) < limit]

    def _in_shortest_line(self, instances: list[C]) -> list[C]:
        """Those with the fewest calls of this Agent, when its own limit is what makes them wait."""
        own = self.own
        if own is None or not instances:
            return instances
        shortest = min([own.get(i, 0) for i in instances])
        return [i for i in instances if own.get(i, 0) == shortest]

    def able(self, strategy: Strategy, key: str, tried: tuple[C, ...], now: float) -> list[C]:
        """Those that may get the call: not tried, with a circuit that lets it, not asking to be left alone.

        When all ask to be left alone, each of them may, but once per call: overload must not multiply. A key that must
        stay has its home alone.
        """
        lineup = self._first(now)
        if key and self.instances and hashing_of(strategy, self.policy.key_affinity) is Hashing.STRICT:
            home = self._homes.home(key)
            is_left_alone = home in tried or (tried and home in self._pushed)
            return [home] if self._admits(home) and not is_left_alone else []
        if not tried:
            return lineup.all
        return [i for i in lineup.all if i not in tried] if lineup.rested else []

    def _admits(self, instance: C) -> bool:
        breaker = self.breakers.get(instance)
        return breaker is None or breaker.admits(self._panics)

    def _look(self, now: float) -> None:
        """Let time pass: circuits turn half-open, push-back ends."""
        turned = [instance for instance in self._suspects if self.breakers[instance].look(now)]
        self._pushed = {i: until for i, until in self._pushed.items() if until > now}
        self._sort()
        for instance in turned:
            self._tell(instance, State.HALF_OPEN)

    def next_attempt_s(self, strategy: Strategy, key: str, now: float) -> float:
        """Seconds until an instance whose circuit is open is tried again; for callers that nobody could take."""
        instances = self.instances
        if key and instances and hashing_of(strategy, self.policy.key_affinity) is Hashing.STRICT:
            instances = [self._homes.home(key)]
        breakers = [self.breakers[i] for i in instances if i in self.breakers]
        waits = [b.until - now if b.state is State.OPEN else PROBE_RETRY_S for b in breakers]
        return max(0.001, min(waits, default=PROBE_RETRY_S))

    # What comes of it

    def began(self, instance: C) -> None:
        """Count an attempt; to be told while `own` is not None."""
        assert self.own is not None
        self.own[instance] = self.own.get(instance, 0) + 1

    def ended(self, instance: C) -> None:
        """An attempt is over; one that began before the Agent had a limit was not counted, and is not now."""
        assert self.own is not None
        count = self.own.get(instance, 0)
        if count > 1:
            self.own[instance] = count - 1
        else:
            self.own.pop(instance, None)

    def probe(self, instance: C) -> Breaker | None:
        """Say that an attempt begins. Returns the breaker that let it through as a probe, for `record`."""
        breaker = self.breakers.get(instance)
        if breaker is None or breaker.state is State.CLOSED:
            return None
        breaker.probes += 1
        self._lineup = None
        return breaker

    def record(self, instance: C, outcome: Outcome, probe: Breaker | None, retry_after_s: float, now: float) -> None:
        """Take the outcome of an attempt.

        Every attempt that was a probe must be recorded; another may be left out when it succeeded and no breaker is
        there. A failure of an instance that has left says nothing.
        """
        if probe is not None:
            probe.probes -= 1
            self._lineup = None
        breaker = self.breakers.get(instance)
        if probe is not None and breaker is not probe:
            return  # reset meanwhile
        if outcome is Outcome.FAILURE:
            if breaker is None:
                if instance not in self.instances:
                    return
                breaker = self.breakers[instance] = Breaker(self.policy.breaker)
            changed = breaker.failed(now, probe is not None, retry_after_s)
        elif outcome is Outcome.SUCCESS and breaker is not None:
            changed = breaker.succeeded(probe is not None)
            if breaker.state is State.CLOSED:
                del self.breakers[instance]
        else:
            changed = False
        if changed and breaker is not None:
            self._sort()
            self._tell(instance, breaker.state)

    def _tell(self, instance: C, state: State) -> None:
        if self._on_change is not None:
            self._on_change(instance, state)

    def push_back(self, instance: C, retry_after_s: float, now: float) -> None:
        """Pass the instance over for as long as it asks, while others are there."""
        if retry_after_s > 0 and len(self.instances) > 1:
            until = self._pushed[instance] = now + min(retry_after_s, MAX_PUSH_BACK_S)
            self._next_look = min(self._next_look, until)
            self._lineup = None

    def may_retry(self, now: float) -> bool:
        """Whether one more retry is within the Agent's budget."""
        return self._budget.take(self.calls, now)

    def circuits(self) -> dict[State, int]:
        """How many instances there are per state of their circuit."""
        found = dict.fromkeys(State, 0)
        for instance in self.instances:
            breaker = self.breakers.get(instance)
            found[breaker.state if breaker is not None else State.CLOSED] += 1
        return found
