"""A gateway, an Agent and its instances as discrete events on their own clock, with the code that the gateway runs.

Calls arrive at random, instances serve so many at once and queue the rest. Nothing is measured on this machine, so the
same seed gives the same figures everywhere.
"""

import heapq
import random
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, cast

from switchboard_gateway.instances import Instance
from switchboard_routing.policy import AgentPolicy, KeyAffinity, Strategy
from switchboard_routing.pool import Pool
from switchboard_wire.v1 import frames_pb2 as pb

SERVICE_S: Final = 0.02
CONCURRENCY: Final = 8
QUEUE: Final = 1000
REPORT_S: Final = 0.7  # the pace of pings, which carry load
KEYS: Final = 10_000
ZONES: Final = ("a", "a", "a", "a", "b", "b", "b", "c", "c", "c")


@dataclass(frozen=True, slots=True)
class Scenario:
    """load: share of what all healthy instances can serve. slow: index of the one that takes ten times as long.

    hedge_s: without an answer for so long, one more instance is asked.
    """

    strategy: Strategy
    instances: int = 10
    load: float = 0.6
    slow: int | None = None
    zone: str = ""
    hedge_s: float | None = None
    seconds: float = 20.0
    seed: int = 1


@dataclass(slots=True, eq=False)
class Call:
    """One call, and the attempts at it that are under way."""

    arrived: float
    attempts: list["Attempt"] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Attempt:
    """One instance's part in a call."""

    call: Call
    server: "Server"
    sent: float
    work: float
    running: bool = False
    over: bool = False


@dataclass(slots=True)
class Server:
    """One pod: the gateway's view of it and the truth."""

    view: Instance
    factor: float
    busy: int = 0
    served: int = 0
    waiting: deque[Attempt] = field(default_factory=deque)
    recent_s: float = SERVICE_S
    recent_busy: float = 0.0


@dataclass(frozen=True, slots=True)
class Found:
    """served: calls per instance, by name. latencies: of all calls, in seconds, sorted. hedges: made."""

    served: dict[str, int]
    latencies: list[float]
    zones: dict[str, float]
    hedges: int

    @property
    def imbalance(self) -> float:
        return max(self.served.values()) * len(self.served) / sum(self.served.values())

    @property
    def p99_ms(self) -> float:
        return self.latencies[int(len(self.latencies) * 0.99)] * 1000


class Simulation:
    """One gateway, one Agent, its instances; time is a number."""

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self._dice = random.Random(scenario.seed)
        self._servers = [self._make_server(number) for number in range(scenario.instances)]
        self._of = {id(server.view): server for server in self._servers}
        self._pool = make_pool([server.view for server in self._servers], scenario.strategy, scenario.zone, self._dice)
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        self._now = 0.0
        self._latencies: list[float] = []
        self._hedges = 0
        self._rate = scenario.load * scenario.instances * CONCURRENCY / SERVICE_S

    def _make_server(self, number: int) -> Server:
        return Server(make_view(number), 10.0 if number == self._scenario.slow else 1.0)

    def run(self) -> Found:
        self._at(0.0, self._arrive)
        for server in self._servers:
            self._at(self._dice.random() * REPORT_S, partial(self._report, server))
        while self._events:
            self._now, _, event = heapq.heappop(self._events)
            event()
        served = {server.view.name: server.served for server in self._servers}
        by_zone: Counter[str] = Counter()
        for server in self._servers:
            by_zone[server.view.zone] += server.served
        total = sum(served.values())
        return Found(
            served, sorted(self._latencies), {zone: by_zone[zone] / total for zone in sorted(by_zone)}, self._hedges
        )

    def _at(self, when: float, event: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._events, (when, self._count, event))

    def _arrive(self) -> None:
        scenario = self._scenario
        hashes = scenario.strategy is Strategy.CONSISTENT_HASH
        key = f"user-{self._dice.randrange(KEYS)}" if hashes else ""
        view = self._pool.choose(scenario.strategy, key, (), self._now)
        assert view is not None
        self._pool.calls += 1
        call = Call(self._now)
        self._send(call, view)
        if scenario.hedge_s is not None:
            self._at(self._now + scenario.hedge_s, partial(self._hedge, call))
        after = self._now + self._dice.expovariate(self._rate)
        if after < scenario.seconds:
            self._at(after, self._arrive)

    def _send(self, call: Call, view: Instance) -> None:
        server = self._of[id(view)]
        attempt = Attempt(call, server, self._now, self._dice.expovariate(1 / SERVICE_S) * server.factor)
        call.attempts.append(attempt)
        view.in_flight += 1
        server.waiting.append(attempt)
        self._serve(server)

    def _hedge(self, call: Call) -> None:
        """As the gateway does: another instance that is free, within the retry budget."""
        if not call.attempts:
            return
        asked = tuple(attempt.server.view for attempt in call.attempts)
        view = self._pool.choose(self._scenario.strategy, "", asked, self._now)
        if view is not None and self._pool.is_free(view) and self._pool.may_retry(self._now):
            self._hedges += 1
            self._send(call, view)

    def _serve(self, server: Server) -> None:
        while server.waiting and server.busy < CONCURRENCY:
            attempt = server.waiting.popleft()
            if not attempt.over:
                attempt.running = True
                server.busy += 1
                self._at(self._now + attempt.work, partial(self._finish, attempt))

    def _finish(self, attempt: Attempt) -> None:
        if attempt.over:
            return
        server, call = attempt.server, attempt.call
        server.served += 1
        server.recent_s += (attempt.work - server.recent_s) * 0.05
        server.recent_busy += (server.busy - 1 - server.recent_busy) * 0.05
        server.view.answered(self._now - attempt.sent)
        if call.arrived > self._scenario.seconds / 10:  # before, the averages have still to form
            self._latencies.append(self._now - call.arrived)
        ended, call.attempts = call.attempts, []
        for one in ended:  # the winner and the losers, which are cancelled, have their slots no longer
            self._leave(one)

    def _leave(self, attempt: Attempt) -> None:
        server = attempt.server
        attempt.over = True
        server.view.in_flight -= 1
        if attempt.running:
            server.busy -= 1
            self._serve(server)

    def _report(self, server: Server) -> None:
        load = pb.Load(cpu=server.recent_busy / CONCURRENCY, latency_ms=server.recent_s * 1000)
        server.view.reported(load, self._now)
        if self._now < self._scenario.seconds:
            self._at(self._now + REPORT_S, partial(self._report, server))


def make_view(number: int) -> Instance:
    """The gateway's view of an instance that is long warm."""
    view = Instance(cast(Any, None), "default", "pool", f"pod-{number:02}", zone=ZONES[number % len(ZONES)])
    view.concurrency, view.queue, view.joined = CONCURRENCY, QUEUE, -1000.0
    view.adjust(0.0)
    return view


def make_pool(views: Sequence[Instance], strategy: Strategy, zone: str, dice: random.Random) -> Pool[Instance]:
    """The pool of an Agent whose keys count only where the strategy hashes."""
    policy = AgentPolicy("default", "echo", "echo", strategy=strategy, key_affinity=KeyAffinity.NONE)
    pool: Pool[Instance] = Pool(policy, dice.random)
    pool.update(policy, views, zone)
    return pool


def share_of_keys_moved(strategy: Strategy, seed: int) -> float:
    """Which share of the keys is answered by another instance once ten instances became eleven."""
    dice = random.Random(seed)
    before = make_pool([make_view(number) for number in range(10)], strategy, "", dice)
    after = make_pool([make_view(number) for number in range(11)], strategy, "", dice)
    moved = 0
    for number in range(KEYS):
        one, other = (pool.choose(strategy, f"user-{number}", (), 0.0) for pool in (before, after))
        assert one is not None
        assert other is not None
        moved += one.name != other.name
    return moved / KEYS
