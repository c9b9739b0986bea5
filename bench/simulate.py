"""`make simulate`: what each strategy does, by simulation, with the code that the gateway runs.

Discrete events on a clock of their own: calls arrive at random, instances serve so many at once and queue the rest.
Nothing is measured on this machine, so the same seed prints the same table everywhere.
"""

import argparse
import heapq
import random
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
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
    """load: share of what all healthy instances can serve. slow: index of the one that takes ten times as long."""

    strategy: Strategy
    instances: int = 10
    load: float = 0.6
    slow: int | None = None
    zone: str = ""
    seconds: float = 20.0
    seed: int = 1


@dataclass(slots=True)
class Server:
    """One pod: the gateway's view of it and the truth."""

    view: Instance
    factor: float
    busy: int = 0
    served: int = 0
    waiting: deque[tuple[float, float]] = field(default_factory=deque)  # (arrived, work)
    recent_s: float = SERVICE_S
    recent_busy: float = 0.0


@dataclass(frozen=True, slots=True)
class Found:
    """served: calls per instance, by name. latencies: of all calls, in seconds, sorted."""

    served: dict[str, int]
    latencies: list[float]
    zones: dict[str, float]

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
        return Found(served, sorted(self._latencies), {zone: by_zone[zone] / total for zone in sorted(by_zone)})

    def _at(self, when: float, event: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._events, (when, self._count, event))

    def _arrive(self) -> None:
        scenario = self._scenario
        hashes = scenario.strategy is Strategy.CONSISTENT_HASH
        key = f"user-{self._dice.randrange(KEYS)}" if hashes else ""
        view = self._pool.choose(scenario.strategy, key, (), self._now)
        assert view is not None
        view.in_flight += 1
        server = self._of[id(view)]
        server.waiting.append((self._now, self._dice.expovariate(1 / SERVICE_S) * server.factor))
        self._serve(server)
        after = self._now + self._dice.expovariate(self._rate)
        if after < scenario.seconds:
            self._at(after, self._arrive)

    def _serve(self, server: Server) -> None:
        while server.waiting and server.busy < CONCURRENCY:
            arrived, work = server.waiting.popleft()
            server.busy += 1
            self._at(self._now + work, partial(self._finish, server, arrived, work))

    def _finish(self, server: Server, arrived: float, work: float) -> None:
        server.busy -= 1
        server.served += 1
        server.recent_s += (work - server.recent_s) * 0.05
        server.recent_busy += (server.busy - server.recent_busy) * 0.05
        view = server.view
        view.in_flight -= 1
        view.answered(self._now - arrived)
        if arrived > self._scenario.seconds / 10:  # before, the averages have still to form
            self._latencies.append(self._now - arrived)
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


def describe(strategy: Strategy, seconds: float, seed: int) -> list[str]:
    """One row of the table."""
    equal = Scenario(strategy, seconds=seconds, seed=seed)
    calm = Simulation(equal).run()
    hurt = Simulation(replace(equal, slow=0)).run()
    low = Simulation(replace(equal, zone="a", load=0.2)).run()
    high = Simulation(replace(equal, zone="a", load=0.7)).run()
    return [
        strategy.value,
        f"{calm.imbalance:.2f}",
        f"{calm.p99_ms:.0f} ms",
        f"{hurt.p99_ms:.0f} ms",
        f"{hurt.served['pod-00'] / sum(hurt.served.values()):.1%}",
        f"{share_of_keys_moved(strategy, seed):.0%}",
        " ".join(f"{zone} {share:.0%}" for zone, share in low.zones.items()),
        " ".join(f"{zone} {share:.0%}" for zone, share in high.zones.items()),
    ]


HEADINGS: Final = [
    "strategy",
    "max/mean",
    "p99, all equal",
    "p99, one 10× slower",
    "share of the slow one",
    "keys moved 10→11",
    "zones at 20 % load",
    "zones at 70 % load",
]


def render(rows: list[list[str]]) -> str:
    """The rows as a table of Markdown."""
    lines = [HEADINGS, ["---"] * len(HEADINGS), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="make simulate", description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0, help="simulated time of each scenario (20)")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    print(
        f"10 instances, {CONCURRENCY} calls at once each, {SERVICE_S * 1000:.0f} ms per call on average (exponential), "
        f"calls at random (Poisson) at 60 % load,\ngateway in zone a; 4 instances in zone a, 3 in b, 3 in c; "
        f"{options.seconds:g} simulated seconds, seed {options.seed}\n"
    )
    print(render([describe(strategy, options.seconds, options.seed) for strategy in Strategy]))


if __name__ == "__main__":
    main()
