"""Which addresses are dialled, and how often."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sidecar_ends import until

from switchboard_runtime.dialing import BACKOFF_MOST_S, Dialer, backoff_s, resolve


class Replicas:
    """A name with addresses behind it; connections stay until `cut`."""

    def __init__(self, *addresses: str) -> None:
        self.addresses: frozenset[str] | None = frozenset(addresses)
        self.open: Counter[str] = Counter()
        self.dialled: Counter[str] = Counter()
        self.dead: set[str] = set()
        self._ends: dict[str, asyncio.Event] = {}

    async def resolve(self, target: str) -> frozenset[str]:
        if self.addresses is None:
            raise OSError("no such host")
        return self.addresses

    async def connect(self, address: str) -> bool:
        self.dialled[address] += 1
        if address in self.dead:
            return False
        if address == "raises":
            raise RuntimeError("a bug")
        self.open[address] += 1
        end = self._ends[address] = asyncio.Event()
        try:
            await end.wait()
        finally:
            self.open -= Counter([address])
        return True

    def cut(self, address: str) -> None:
        self._ends[address].set()


@contextlib.asynccontextmanager
async def dialling(replicas: Replicas) -> AsyncIterator[Dialer]:
    dialer = Dialer(["links:7410"], replicas.connect, Random(1), replicas.resolve)
    task = asyncio.create_task(dialer.run())
    try:
        yield dialer
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert not replicas.open


async def test_one_connection_to_every_address_and_again_when_it_breaks() -> None:
    replicas = Replicas("a", "b")
    async with dialling(replicas):
        await until(lambda: replicas.open == Counter("ab"))
        replicas.cut("a")
        await until(lambda: replicas.dialled["a"] == 2 and replicas.open == Counter("ab"))
        assert replicas.dialled["b"] == 1


async def test_a_broken_connection_looks_the_name_up_at_once() -> None:
    replicas = Replicas("old")
    async with dialling(replicas):
        await until(lambda: replicas.open == Counter(["old"]))
        replicas.addresses = frozenset({"new"})
        replicas.cut("old")
        await until(lambda: replicas.open == Counter(["new"]))


async def test_an_address_that_left_the_name_is_kept_while_it_lives() -> None:
    replicas = Replicas("a", "b")
    async with dialling(replicas) as dialer:
        await until(lambda: replicas.open == Counter("ab"))
        replicas.addresses = frozenset({"a"})
        dialer.hear([])
        await until(lambda: dialer._wanted() == {"a"})
        assert replicas.open == Counter("ab")


async def test_without_dns_what_is_known_stays() -> None:
    replicas = Replicas("a")
    async with dialling(replicas):
        await until(lambda: replicas.open == Counter("a"))
        replicas.addresses = None
        replicas.cut("a")
        await until(lambda: replicas.dialled["a"] == 2)


async def test_a_replica_that_others_tell_of_is_dialled_until_it_is_gone() -> None:
    replicas = Replicas("a")
    async with dialling(replicas) as dialer:
        dialer.hear(["a", "b"])
        await until(lambda: replicas.open == Counter("ab"))
        replicas.dead.add("b")
        replicas.cut("b")
        await until(lambda: dialer._wanted() == {"a"})
        assert replicas.dialled["a"] == 1


async def test_a_bug_in_one_connection_leaves_the_others_alone() -> None:
    replicas = Replicas("raises", "a")
    async with dialling(replicas):
        await until(lambda: replicas.open == Counter("a") and replicas.dialled["raises"] >= 2)


@given(st.integers(0, 10_000), st.integers())
def test_backoff_is_jittered_and_bounded(attempt: int, seed: int) -> None:
    assert 0 <= backoff_s(attempt, Random(seed)) <= BACKOFF_MOST_S


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("127.0.0.1:7410", {"127.0.0.1:7410"}),
        ("[::1]:7410", {"[::1]:7410"}),
        ("unix:/run/x.sock", {"unix:/run/x.sock"}),
    ],
)
async def test_addresses_are_themselves(target: str, expected: set[str]) -> None:
    assert await resolve(target) == expected
