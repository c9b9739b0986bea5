"""Waiting on watches: when every object of a kind has come so far."""

import asyncio
import contextlib
import math
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from switchboard_kube import AGENT_NODES, EventType, Kube, Resource, Selector

# No part of the benchmark takes as long on a machine that works
LONGEST_S: Final = 600.0


def percentile(values: Sequence[float], percent: int) -> float:
    """The value that so many percent do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, math.ceil(len(ordered) * percent / 100) - 1)]


class Counts:
    """How far an object is, as a number."""

    @staticmethod
    def deployment(held: Any) -> int:
        """Ready pods."""
        return int((held.get("status") or {}).get("readyReplicas", 0))

    @staticmethod
    def wanted(held: Any) -> int:
        """Pods asked for."""
        return int(held["spec"]["replicas"])

    @staticmethod
    def agent(held: Any) -> int:
        """Instances on which it is ready."""
        return int((held.get("status") or {}).get("readyInstances", 0))


@dataclass(slots=True)
class Watched:
    """The latest count of each object, by name."""

    counts: dict[str, int] = field(default_factory=dict)
    changed: asyncio.Event = field(default_factory=asyncio.Event)


@contextlib.asynccontextmanager
async def watched(
    kube: Kube, resource: Resource, namespace: str | None, count: Callable[[Any], int]
) -> AsyncIterator[Watched]:
    """Follow all objects of a kind; begins with what is there."""
    held, synced = Watched(), asyncio.Event()

    async def follow() -> None:
        async for event in kube.watch(resource, Selector(namespace)):
            if event.type is EventType.APPLIED:
                held.counts[event.object["metadata"]["name"]] = count(event.object)
            elif event.type is EventType.DELETED:
                held.counts.pop(event.object["metadata"]["name"], None)
            else:
                synced.set()
            held.changed.set()

    task = asyncio.create_task(follow())
    try:
        await synced.wait()
        yield held
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def await_count(held: Watched, objects: int, *, at_least: int) -> None:
    """Until so many objects have come so far. Raises TimeoutError with what is missing."""
    try:
        async with asyncio.timeout(LONGEST_S):
            while sum(count >= at_least for count in held.counts.values()) < objects:
                held.changed.clear()
                await held.changed.wait()
    except TimeoutError as error:
        late = sorted(name for name, count in held.counts.items() if count < at_least)
        raise TimeoutError(f"{len(late)} of {len(held.counts)} are late: {late[:5]}") from error


async def await_gone(held: Watched, name: str) -> None:
    """Until the object is no more. Raises TimeoutError."""
    async with asyncio.timeout(LONGEST_S):
        while name in held.counts:
            held.changed.clear()
            await held.changed.wait()


async def edit_and_wait(kube: Kube, namespace: str, name: str, wanted: int, deployments: Watched) -> float:
    """Seconds from the answer to the edit to the sight of the Deployment with the new number."""
    await kube.patch(AGENT_NODES, name, namespace, {"spec": {"replicas": wanted}})
    began = time.perf_counter()
    async with asyncio.timeout(LONGEST_S):
        while deployments.counts[name] != wanted:
            deployments.changed.clear()
            await deployments.changed.wait()
    return time.perf_counter() - began
