"""The directory follows what is declared, in the namespaces that it is told to serve."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from switchboard_gateway.cluster_directory import ClusterDirectory
from switchboard_gateway.core import Core
from switchboard_gateway.metrics import GatewayMetrics
from switchboard_kube import AGENTS
from switchboard_kube.testing import FakeKube
from switchboard_routing.policy import AgentPolicy
from switchboard_wire import names

DEADLINE_S = 10


def make_agent(namespace: str, name: str) -> dict[str, Any]:
    metadata = {"namespace": namespace, "name": name, "creationTimestamp": "2026-01-01T00:00:00Z"}
    spec = {"nodeRef": {"name": "writers"}}
    return {"apiVersion": names.API_VERSION, "kind": names.AGENT, "metadata": metadata, "spec": spec}


class Published(Core):
    """A core that lets a test wait for a directory."""

    def __init__(self) -> None:
        super().__init__("default", GatewayMetrics.create(CollectorRegistry()))
        self.directories: asyncio.Queue[set[tuple[str, str]]] = asyncio.Queue()

    def set_directory(self, policies: Iterable[AgentPolicy]) -> None:
        super().set_directory(policies)
        self.directories.put_nowait(set(self.directory.by_type))

    async def until_known(self, types: set[tuple[str, str]]) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while await self.directories.get() != types:
                pass


@asynccontextmanager
async def following(kube: FakeKube, namespaces: tuple[str, ...]) -> AsyncIterator[Published]:
    core = Published()
    running = asyncio.create_task(ClusterDirectory(kube, core, namespaces).run())
    try:
        yield core
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@pytest.mark.parametrize(
    ("namespaces", "known"),
    [
        ((), {("a", "writer"), ("b", "writer"), ("c", "writer")}),
        (("a", "c"), {("a", "writer"), ("c", "writer")}),
    ],
    ids=["all namespaces", "those that are listed"],
)
async def test_agents_of_the_served_namespaces_are_known(
    namespaces: tuple[str, ...], known: set[tuple[str, str]]
) -> None:
    kube = FakeKube(*((AGENTS, make_agent(namespace, "writer")) for namespace in ("a", "b", "c")))
    async with following(kube, namespaces) as core:
        await core.until_known(known)


async def test_an_agent_that_is_deleted_is_forgotten() -> None:
    kube = FakeKube((AGENTS, make_agent("a", "writer")), (AGENTS, make_agent("a", "reader")))
    async with following(kube, ("a",)) as core:
        await core.until_known({("a", "writer"), ("a", "reader")})
        await kube.delete(AGENTS, "writer", "a")
        await core.until_known({("a", "reader")})
