"""The directory follows what is declared, in the namespaces that it is told to serve."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from switchboard_gateway.cluster_directory import ClusterDirectory, Declared
from switchboard_gateway.core import Core
from switchboard_gateway.metrics import GatewayMetrics
from switchboard_kube import AGENTS, ENDPOINT_SLICES
from switchboard_kube.testing import FakeKube
from switchboard_routing.policy import AgentPolicy, BreakerPolicy, Subscription
from switchboard_wire import names

# Its core derives from the product's
pytestmark = pytest.mark.interpreted

DEADLINE_S = 10


def make_agent(namespace: str, name: str) -> dict[str, Any]:
    metadata = {"namespace": namespace, "name": name, "creationTimestamp": "2026-01-01T00:00:00Z"}
    spec = {"nodeRef": {"name": "writers"}}
    return {"apiVersion": names.API_VERSION, "kind": names.AGENT, "metadata": metadata, "spec": spec}


class Published(Core):
    """A core that lets a test wait for a directory."""

    def __init__(self) -> None:
        super().__init__("default", GatewayMetrics.create(CollectorRegistry()))
        self.resets: list[tuple[str, str]] = []
        self.directories: asyncio.Queue[set[tuple[str, str]]] = asyncio.Queue()

    def set_directory(self, policies: Iterable[AgentPolicy]) -> None:
        super().set_directory(policies)
        self.directories.put_nowait(set(self.directory.by_type))

    def reset_circuits(self, namespace: str, agent: str) -> bool:
        self.resets.append((namespace, agent))
        return super().reset_circuits(namespace, agent)

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


def make_slice(zone: str, uid: str, ready: bool = True) -> dict[str, Any]:
    endpoint = {"targetRef": {"uid": uid}, "zone": zone, "conditions": {"ready": ready}}
    return {"metadata": {"namespace": "a", "name": "slice"}, "endpoints": [endpoint, {"addresses": ["10.0.0.9"]}]}


def test_a_policy_says_what_its_agent_declares() -> None:
    agent = make_agent("a", "writer")
    agent["spec"] |= {
        "topics": [{"type": "news"}, {"type": "alerts.", "match": "Prefix"}],
        "circuitBreaker": {"consecutiveFailures": 2, "openSeconds": 7, "successesToClose": 1},
        "loadBalancing": {"strategy": "ConsistentHash", "hashOn": "Header", "header": "X-User"},
    }
    (policy,) = Declared(agents={("a", "writer"): agent}).policies()
    assert policy.topics == (Subscription("news"), Subscription("alerts.", prefix=True))
    assert policy.breaker == BreakerPolicy(2, 7, 1)
    assert policy.hash_header == "X-User"


def test_weights_are_those_of_the_agent_nodes() -> None:
    nodes = {("a", "heavy"): {"metadata": {}, "spec": {"weight": 300}}, ("a", "plain"): {"metadata": {}, "spec": {}}}
    assert Declared(nodes=nodes).weights() == {("a", "heavy"): 300, ("a", "plain"): 100}


def test_a_gateway_knows_its_zone_before_it_is_ready() -> None:
    declared = Declared(gateways={("a", "slice"): make_slice("zone-1", "me", ready=False)})
    assert (declared.zone_of_gateway("me"), declared.zone_of_gateway("another")) == ("zone-1", None)


def test_only_ready_pods_are_expected() -> None:
    slices = {("a", "1"): make_slice("z1", "p1"), ("a", "2"): make_slice("z2", "p2", ready=False)}
    assert Declared(slices=slices).pods() == {"p1": "z1"}


async def test_the_core_learns_its_zone_from_the_slice_of_the_links_service() -> None:
    slice_ = make_slice("zone-7", "me")
    slice_["metadata"]["labels"] = {"kubernetes.io/service-name": names.LINKS_SERVICE}
    kube = FakeKube((AGENTS, make_agent("a", "writer")), (ENDPOINT_SLICES, slice_))
    core = Published()
    running = asyncio.create_task(ClusterDirectory(kube, core, (), own_uid="me").run())
    try:
        await core.until_known({("a", "writer")})
        async with asyncio.timeout(DEADLINE_S):
            while core.table.zone != "zone-7":
                await asyncio.sleep(0.01)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_each_new_value_of_the_annotation_resets_the_circuits_of_an_agent() -> None:
    kube = FakeKube((AGENTS, make_agent("a", "writer")), (AGENTS, make_agent("a", "reader")))
    async with following(kube, ("a",)) as core:
        await core.until_known({("a", "writer"), ("a", "reader")})
        for value in ("1", "1", "2"):
            agent = make_agent("a", "writer")
            agent["metadata"]["annotations"] = {names.RESET_CIRCUITS_ANNOTATION: value}
            await kube.apply(AGENTS, agent)
        agent["metadata"]["annotations"] = {}
        await kube.apply(AGENTS, agent)
        await kube.apply(AGENTS, make_agent("a", "last"))
        await core.until_known({("a", "writer"), ("a", "reader"), ("a", "last")})
        assert set(core.resets) <= {("a", "writer")}
        agent["metadata"]["annotations"] = {names.RESET_CIRCUITS_ANNOTATION: "3"}
        await kube.apply(AGENTS, agent)
        async with asyncio.timeout(DEADLINE_S):
            while not core.resets:
                await asyncio.sleep(0.001)
        assert set(core.resets) == {("a", "writer")}


async def test_an_annotation_from_before_the_gateways_start_resets_nothing() -> None:
    agent = make_agent("a", "writer")
    agent["metadata"]["annotations"] = {names.RESET_CIRCUITS_ANNOTATION: "1"}
    kube = FakeKube((AGENTS, agent))
    async with following(kube, ("a",)) as core:
        await core.until_known({("a", "writer")})
        await kube.apply(AGENTS, make_agent("a", "reader"))
        await core.until_known({("a", "writer"), ("a", "reader")})
        assert core.resets == []
