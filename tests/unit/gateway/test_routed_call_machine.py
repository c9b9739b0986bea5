"""Whatever crosses (answers, deadlines, cancels, lost streams, retries), a call ends once and leaves nothing behind."""

import asyncio
import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule
from prometheus_client import CollectorRegistry

from switchboard_gateway.clients import Client
from switchboard_gateway.core import Core
from switchboard_gateway.links import Link
from switchboard_gateway.metrics import GatewayMetrics
from switchboard_routing.policy import AgentPolicy, BreakerPolicy, HedgingPolicy, KeyAffinity, RetryPolicy, Strategy
from switchboard_wire.deadlines import Wheel
from switchboard_wire.errors import ErrorValue, close_with
from switchboard_wire.peer import Peer
from switchboard_wire.v1 import frames_pb2 as pb

CODES = [
    pb.NODE_UNAVAILABLE,
    pb.OVERLOADED,
    pb.PROCESSING_ERROR,
    pb.DEADLINE_EXCEEDED,
    pb.CIRCUIT_OPEN,
    pb.VALIDATION_FAILED,
]

# Rather seldom: most steps should have something to work on
DAMAGE_PAUSE = ["return"] * 6


class Clock:
    """Deadlines on a clock that only the test moves."""

    def __init__(self) -> None:
        self.now = 100.0
        self.wheel = Wheel(self.now)

    def time(self) -> float:
        return self.now

    def add(self, delay_s: float, expire: Any) -> tuple[int, int]:
        return self.wheel.add(self.now + delay_s, expire)

    def remove(self, token: tuple[int, int]) -> None:
        self.wheel.remove(token)

    def advance(self, seconds: float) -> None:
        self.now += seconds
        for expire in self.wheel.due(self.now):
            expire()

    @property
    def waiting(self) -> int:
        return sum(len(slot) for slot in self.wheel._slots.values())


class Far:
    """The other end of a peer: takes what is written, frame by frame, as a stream would."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.closes: list[pb.Frame] = []
        self.open: dict[int, pb.Frame] = {}

    def read(self) -> None:
        while data := self.peer.outbox.take():
            for frame in pb.Batch.FromString(data).frames:
                if frame.kind == pb.OPEN:
                    assert frame.call not in self.open
                    self.open[frame.call] = frame
                elif frame.kind == pb.CLOSE:
                    self.closes.append(frame)
                elif frame.kind == pb.CANCEL:
                    self.open.pop(frame.call, None)

    def send(self, *frames: pb.Frame) -> None:
        if not self.peer.lost:
            self.peer.receive(pb.Batch(frames=frames).SerializeToString())


class Calls(RuleBasedStateMachine):
    """One Agent, up to four instances, three clients; an instance may be a client, on the same stream."""

    instances = Bundle("instances")
    clients = Bundle("clients")

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.loop.run_until_complete(self._make())
        self.links: list[Far] = []
        self.callers: list[Far] = []
        self.opened: dict[int, set[int]] = {}
        self.cancelled: set[tuple[int, int]] = set()
        self.count = 0

    async def _make(self) -> None:
        self.core = Core("default", GatewayMetrics.create(CollectorRegistry()))
        self.clock = Clock()
        self.core.now = self.clock.time
        self.core.deadlines = self.clock  # type: ignore[assignment]
        self.core.rng = random.Random(7).random

    def teardown(self) -> None:
        self._wait_out()
        self.loop.close()

    @initialize(
        strategy=st.sampled_from(list(Strategy)),
        affinity=st.sampled_from(list(KeyAffinity)),
        idempotent=st.booleans(),
        per_try=st.sampled_from([None, 0.5]),
        failures=st.integers(1, 3),
        concurrency=st.sampled_from([None, 1]),
        hedging=st.sampled_from([None, HedgingPolicy(0.3, 2), HedgingPolicy(0.02, 4)]),
    )
    def declare(
        self,
        strategy: Strategy,
        affinity: KeyAffinity,
        idempotent: bool,
        per_try: float | None,
        failures: int,
        concurrency: int | None,
        hedging: HedgingPolicy | None,
    ) -> None:
        self.policy = AgentPolicy(
            namespace="default",
            name="echo",
            type="echo",
            strategy=strategy,
            key_affinity=affinity,
            timeout_s=3.0,
            retries=RetryPolicy(per_try_timeout_s=per_try, idempotent=idempotent),
            breaker=BreakerPolicy(failures, 2.0, 2),
            concurrency=concurrency,
            hedging=hedging,
        )
        self.core.set_directory([self.policy])

    @initialize(target=instances)
    def first_instance(self) -> Far:
        return self.join(1)

    @initialize(target=clients)
    def first_client(self) -> Far:
        return self.connect()

    @rule(target=instances, queue=st.integers(0, 2))
    def join(self, queue: int) -> Far:
        far = Far(Peer(Link(self.core), dialled=False, label="link"))
        self.count += 1
        name = f"i{self.count}"
        hosted = pb.Hosted(agents=[pb.HostedAgent(name="echo", type="echo", state=pb.HOSTED_READY)])
        capacity = pb.Capacity(concurrency=1, queue=queue)
        hello = pb.Hello(
            namespace="default", node="pool", instance=name, pod_uid=name, hosted=hosted, capacity=capacity
        )
        far.send(pb.Frame(kind=pb.HELLO, hello=hello))
        self.links.append(far)
        return far

    @rule(target=clients)
    def connect(self) -> Far:
        far = Far(Peer(Client(self.core, "default"), dialled=False))
        self.callers.append(far)
        return far

    @rule(
        client=st.one_of(clients, instances),
        count=st.integers(1, 3),
        key=st.sampled_from(["", "a"]),
        deadline_ms=st.sampled_from([0, 400, 500]),
        idempotent=st.booleans(),
        end=st.booleans(),
        priority=st.integers(0, 2),
    )
    def call(self, client: Far, count: int, **fields: Any) -> None:
        if client.peer.lost:
            return
        if client not in self.callers:
            self.callers.append(client)
        end = fields.pop("end", True)
        for _ in range(count):
            number = 2 * len(self.opened.setdefault(id(client), set())) + 1
            self.opened[id(client)].add(number)
            target = pb.Target(type="echo", key=fields.get("key", ""))
            rest = {name: value for name, value in fields.items() if name != "key"}
            client.send(pb.Frame(kind=pb.OPEN, call=number, end=end, open=pb.Open(target=target, **rest), data=b"x"))

    def _some_call(self, client: Far, which: int) -> int:
        numbers = sorted(self.opened.get(id(client), {1}))
        return numbers[-1 - which % len(numbers)]

    @rule(client=clients, which=st.integers(0, 3), end=st.booleans())
    def more_data(self, client: Far, which: int, end: bool) -> None:
        client.send(pb.Frame(kind=pb.DATA, call=self._some_call(client, which), data=b"yy", end=end))

    @rule(client=st.one_of(clients, instances), which=st.integers(0, 3))
    def cancel(self, client: Far, which: int) -> None:
        number = self._some_call(client, which)
        client.send(pb.Frame(kind=pb.CANCEL, call=number))
        self.cancelled.add((id(client), number))

    @rule(
        instance=instances,
        which=st.integers(0, 3),
        code=st.sampled_from(CODES),
        delivered=st.sampled_from([pb.DELIVERED_NO, pb.DELIVERED_MAYBE, pb.DELIVERED_YES]),
        twice=st.booleans(),
        pause_ms=st.sampled_from([0, 300]),
    )
    def fail(self, instance: Far, which: int, code: int, delivered: int, twice: bool, pause_ms: int) -> None:
        error = ErrorValue(code, "no", pause_ms, delivered)
        self._close(instance, which, lambda number: close_with(number, error), twice)

    @rule(instance=instances, which=st.integers(0, 3), twice=st.booleans())
    def succeed(self, instance: Far, which: int, twice: bool) -> None:
        self._close(instance, which, lambda number: pb.Frame(kind=pb.CLOSE, call=number), twice)

    def _close(self, instance: Far, which: int, make: Callable[[int], pb.Frame], twice: bool) -> None:
        instance.read()
        numbers = [number for number in instance.open if not number & 1]
        if numbers:
            number = numbers[which % len(numbers)]
            del instance.open[number]
            instance.send(*[make(number)] * (2 if twice else 1))

    @rule(instance=instances, which=st.integers(0, 3))
    def stream(self, instance: Far, which: int) -> None:
        instance.read()
        numbers = [number for number in instance.open if not number & 1]
        if numbers:
            instance.send(pb.Frame(kind=pb.DATA, call=numbers[which % len(numbers)], data=b"z"))

    @rule(peer=st.one_of(instances, clients), how=st.sampled_from(["drain", "lose", "forget", "return", *DAMAGE_PAUSE]))
    def damage(self, peer: Far, how: str) -> None:
        if how == "drain" and peer in self.links:
            peer.send(pb.Frame(kind=pb.GOAWAY))
        elif how == "lose":
            peer.peer.lose("gone")
        elif how == "forget":
            self.core.set_directory([])
        else:
            self.core.set_directory([self.policy])

    @rule(seconds=st.sampled_from([0.02, 0.04, 0.4, 0.6, 2.5]))
    def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule(seed=st.integers(0, 2**32))
    def storm(self, seed: int) -> None:
        """Many random steps at once: hypothesis alone takes few, and some crossings need many calls under way."""
        dice = random.Random(seed)
        deliveries = [pb.DELIVERED_NO, pb.DELIVERED_NO, pb.DELIVERED_MAYBE, pb.DELIVERED_YES]
        for _ in range(40):
            link, client = dice.choice(self.links), dice.choice(self.callers)
            which, coin = dice.randrange(4), dice.random() < 0.5
            match dice.randrange(10):
                case 0 | 1 | 2:
                    caller = client if dice.random() < 0.8 else link
                    fields = {"key": dice.choice(["", "a"]), "deadline_ms": dice.choice([0, 0, 400]), "end": coin}
                    self.call(caller, 2, idempotent=dice.random() < 0.5, priority=which, **fields)
                case 3:
                    self.succeed(link, which, coin)
                case 4 | 5 | 6:
                    pause_ms = dice.choice([0, 0, 300])
                    self.fail(link, which, dice.choice(CODES), dice.choice(deliveries), coin, pause_ms)
                case 7:
                    self.cancel(client, which)
                case 8:
                    self.pass_time(dice.choice([0.02, 0.04, 0.4, 1.0]))
                case 9 if coin:
                    self.stream(link, which)
                case 9:
                    self.more_data(client, which, dice.random() < 0.5)
            if dice.random() < 0.05:
                self.damage(dice.choice([link, client]), dice.choice(["drain", "lose", "forget", "return"]))
            if dice.random() < 0.05:
                for gone in self.links:
                    gone.peer.lose("all are gone")
                self.call(client, 3, idempotent=coin)
                self.join(which % 2)
            self.nobody_got_two_ends()
            self.counts_agree()

    @invariant()
    def nobody_got_two_ends(self) -> None:
        for client in self.callers:
            client.read()
            ended = [frame.call for frame in client.closes]
            assert len(ended) == len(set(ended))

    @invariant()
    def counts_agree(self) -> None:
        core = self.core
        assert core.active >= len(core.held)
        assert all(instance.in_flight >= 0 for instance in core.table.instances.values())
        assert core.held.bytes == sum(core.held.calls.values())
        assert all(not call.over for call in core.held.calls)
        for route in core.held.routes():
            assert not route.instances or not route.room
        if not core.active:
            self._check_nothing_is_left()

    def _check_nothing_is_left(self) -> None:
        core = self.core
        assert (len(core.held), core.held.bytes, self.clock.waiting) == (0, 0, 0)
        assert all(instance.in_flight == 0 for instance in core.table.instances.values())
        for far in [*self.links, *self.callers]:
            assert far.peer.calls == {}
        for route in core.table.routes.values():
            assert all(breaker.probes == 0 for breaker in route.breakers.values())
            assert not route.own

    def _wait_out(self) -> None:
        """After the longest deadline every call has ended, and whoever still listens was told once."""
        for _ in range(4):
            self.clock.advance(1.0)
        assert self.core.active == 0
        self._check_nothing_is_left()
        for client in self.callers:
            if client.peer.lost:
                continue
            client.read()
            ended = {frame.call for frame in client.closes}
            waited = {
                number for number in self.opened.get(id(client), ()) if (id(client), number) not in self.cancelled
            }
            assert waited <= ended


Calls.TestCase.settings = settings(
    max_examples=60, stateful_step_count=20, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestCalls = pytest.mark.interpreted(Calls.TestCase)  # its clock takes the place of Deadlines
