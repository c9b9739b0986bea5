"""Which instance answers: one function per strategy over the same plain candidates.

A candidate's numbers change under way; a balancer reads them, and keeps between calls only what its strategy needs.
"""

from collections.abc import Callable, Hashable, Sequence
from typing import Final, Generic, Protocol, TypeVar

from switchboard_routing.policy import Strategy

# Up to here all candidates are compared; above, two drawn at random are nearly as good and cost the same at any size
# (Mitzenmacher, The Power of Two Choices in Randomized Load Balancing, 2001).
FULL_SCAN: Final = 64
# What an instance that has not answered yet is taken to need, in seconds. Of zero, it would get every call at once.
UNKNOWN_LATENCY_S: Final = 0.1

Rng = Callable[[], float]  # uniform in [0, 1), as random.random


class Candidate(Hashable, Protocol):
    """What routing reads of an instance. Candidates are compared by identity.

    in_flight: calls of this gateway's. free: in_flight below which a call need not wait; full: from which on it is
    refused. capacity: calls that it takes at once, less while it is new. latency_s: peak EWMA of its answers; 0:
    unknown. weight: at least 0, by its load.
    """

    name: str
    zone: str
    in_flight: int
    free: int
    full: int
    capacity: float
    latency_s: float
    weight: float


C = TypeVar("C", bound=Candidate)


class Balancer(Generic[C]):
    """Chooses among the candidates of one Agent. One task owns it; `rng` is its only chance."""

    __slots__ = ("_credits", "_rng", "_turn")

    def __init__(self, rng: Rng) -> None:
        self._rng = rng
        self._turn = int(rng() * 1024)  # gateways that start together must not march in step
        self._credits: dict[str, float] = {}

    def choose(self, strategy: Strategy, candidates: Sequence[C]) -> C:
        """One of `candidates`, of which there is at least one."""
        if len(candidates) == 1:
            return candidates[0]
        if strategy is Strategy.LEAST_CONNECTIONS:
            return choose_least(candidates, self._rng, _connections)
        if strategy is Strategy.RESPONSE_TIME:
            return choose_least(candidates, self._rng, _expected_wait)
        if strategy is Strategy.RANDOM:
            return candidates[int(self._rng() * len(candidates))]
        if strategy is Strategy.WEIGHTED_RANDOM:
            return self._weighted_random(candidates)
        if strategy is Strategy.WEIGHTED_ROUND_ROBIN:
            return self._smooth(candidates)
        return self._round_robin(candidates)  # also a consistent hash of a call without a key

    def _round_robin(self, candidates: Sequence[C]) -> C:
        self._turn = turn = self._turn + 1
        return candidates[turn % len(candidates)]

    def _weighted_random(self, candidates: Sequence[C]) -> C:
        total = sum([candidate.weight for candidate in candidates])
        if total <= 0:
            return self._round_robin(candidates)
        point = self._rng() * total
        for candidate in candidates:
            point -= candidate.weight
            if point < 0:
                return candidate
        return candidates[-1]

    def _smooth(self, candidates: Sequence[C]) -> C:
        """Smooth weighted round robin (nginx upstream module, 2012): shares by weight, never in bursts."""
        total = sum([candidate.weight for candidate in candidates])
        if total <= 0:
            return self._round_robin(candidates)
        credits = {
            candidate.name: self._credits.get(candidate.name, 0.0) + candidate.weight for candidate in candidates
        }
        best = max(candidates, key=lambda candidate: credits[candidate.name])
        credits[best.name] -= total
        self._credits = credits
        return best


def choose_least(candidates: Sequence[C], rng: Rng, cost: Callable[[C], float]) -> C:
    """The cheapest candidate; of equals a random one. Above 64 candidates, the cheaper of two drawn at random."""
    count = len(candidates)
    first = int(rng() * count)
    if count > FULL_SCAN:
        other = (first + 1 + int(rng() * (count - 1))) % count
        pair = candidates[first], candidates[other]
        return min(pair, key=cost)
    best = candidates[first]
    lowest = cost(best)
    for step in range(1 - count, 0):
        candidate = candidates[first + step]
        found = cost(candidate)
        if found < lowest:
            best, lowest = candidate, found
    return best


def _connections(candidate: Candidate) -> float:
    return candidate.in_flight / candidate.capacity


def _expected_wait(candidate: Candidate) -> float:
    return (candidate.latency_s or UNKNOWN_LATENCY_S) * (candidate.in_flight + 1)
