"""Keeps one connection to every address behind some names: resolved anew all the time, redialled with back-off.

grpc's own resolver picks one address of a name and asks again every 30 s at most; we need all of them, soon.
"""

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable, Iterable
from random import Random
from typing import Final

log = logging.getLogger("switchboard.dialing")

# New replicas are met within seconds; thousands of sidecars still ask the DNS less than once a second each
RESOLVE_S: Final = 3.0
BACKOFF_FIRST_S: Final = 0.1
BACKOFF_MOST_S: Final = 3.0

Connect = Callable[[str], Awaitable[bool]]
Resolve = Callable[[str], Awaitable[frozenset[str]]]


async def resolve(target: str) -> frozenset[str]:
    """Every address of `host:port`, as a gRPC target. `unix:PATH` is itself. Raises OSError."""
    if target.startswith("unix:"):
        return frozenset({target})
    host, _, port = target.rpartition(":")
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
    return frozenset(_address(info) for info in found)


def _address(info: tuple[int, int, int, str, tuple[object, ...]]) -> str:
    family, address = info[0], info[4]
    return f"[{address[0]}]:{address[1]}" if family == socket.AF_INET6 else f"{address[0]}:{address[1]}"


def backoff_s(attempt: int, rng: Random) -> float:
    """Full jitter over a bound that doubles (Brooker, "Exponential backoff and jitter", 2015)."""
    return rng.uniform(0, min(BACKOFF_MOST_S, BACKOFF_FIRST_S * 2 ** min(attempt, 16)))


class Dialer:
    """Runs `connect(address)` for each address, again and again. connect: True when the other end had greeted."""

    def __init__(self, targets: Iterable[str], connect: Connect, rng: Random, resolve: Resolve = resolve) -> None:
        self._targets = tuple(targets)
        self._connect = connect
        self._rng = rng
        self._resolve = resolve
        self._resolved: dict[str, frozenset[str]] = {}
        self._heard: set[str] = set()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._nudge = asyncio.Event()

    def hear(self, addresses: Iterable[str]) -> None:
        """Other replicas told of these."""
        self._heard.update(addresses)
        self._nudge.set()

    async def run(self) -> None:
        """Dial for ever; ends, with every connection, by cancellation."""
        if not self._targets:
            return
        try:
            while True:
                await self._look_up()
                for address in self._wanted() - self._tasks.keys():
                    self._tasks[address] = asyncio.create_task(self._keep(address))
                await self._pause()
        finally:
            tasks = list(self._tasks.values())
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _wanted(self) -> set[str]:
        return self._heard.union(*self._resolved.values())

    async def _look_up(self) -> None:
        for target in self._targets:
            try:
                self._resolved[target] = await self._resolve(target)
            except OSError as error:  # keep what is known: the DNS may be away while the replicas are not
                log.warning("no address", extra={"target": target, "reason": str(error)})

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(RESOLVE_S * self._rng.uniform(0.5, 1.5)):
                await self._nudge.wait()
        except TimeoutError:
            return
        self._nudge.clear()

    async def _keep(self, address: str) -> None:
        attempt = 0
        try:
            while address in self._wanted():
                if await self._once(address):
                    attempt = 0
                    self._nudge.set()
                else:
                    attempt += 1
                    self._heard.discard(address)
                await asyncio.sleep(backoff_s(attempt, self._rng))
        finally:
            self._tasks.pop(address, None)

    async def _once(self, address: str) -> bool:
        try:
            return await self._connect(address)
        except Exception:
            log.exception("a connection failed", extra={"address": address})
            return False
