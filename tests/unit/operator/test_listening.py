"""Which events wake which objects: those from which nothing can follow wake none."""

import asyncio
import random
from dataclasses import replace
from typing import Any

import pytest
from operator_objects import make_agent, make_child, make_node, make_pod

from switchboard_operator.listening import Pokes
from switchboard_operator.objects import Resource
from switchboard_operator.pacing import Key, kind_of
from switchboard_operator.snapshot import Indexes
from switchboard_operator.workqueue import Lanes
from switchboard_operator.writing import ObjectName

NODE, AGENT = ("AgentNode", "ns", "writers"), ("Agent", "ns", "summarizer")


class Woken:
    """Pokes with a queue that stands, and what they name."""

    def __init__(self) -> None:
        self.queue: Lanes[Key] = Lanes(("AgentNode", "Agent"), kind_of, random.Random(1))
        self.queue.release()
        self.echoes: dict[tuple[ObjectName, str], bool | None] = {}
        self.pokes = Pokes(
            asyncio.get_running_loop(),
            self.queue,
            lambda _held, _gone: None,
            lambda _held, _gone: None,
            lambda _synced: None,
            lambda name, version: self.echoes.get((name, version), False),
        )

    async def keys(self) -> set[Key]:
        """The keys named since the last call."""
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        found = set()
        for lane in self.queue.lanes():
            while len(lane):
                key = await asyncio.wait_for(lane.get(), 60)
                lane.done(key)
                found.add(key)
        return found

    async def told(self, kind: str, resource: Resource, *, gone: bool = False) -> set[Key]:
        """The keys that one event names."""
        node, agent = make_node(), make_agent()
        indexes = Indexes(nodes={("ns", "writers"): [node]}, agents_naming={("ns", "writers"): [agent]})
        self.pokes.changed(kind, resource, gone, indexes)
        return await self.keys()


def version(held: Resource, number: str, **meta: Any) -> Resource:
    return replace(held, meta=replace(held.meta, resource_version=number, **meta))


async def test_a_new_agentnode_wakes_itself_and_its_agents_and_its_status_only_itself() -> None:
    woken = Woken()
    assert await woken.told("AgentNode", make_node()) == {NODE, AGENT}
    assert await woken.told("AgentNode", version(make_node(status={"replicas": 1}), "11")) == {NODE}
    assert await woken.told("AgentNode", version(make_node(), "12"), gone=True) == {NODE, AGENT}


async def test_a_new_agent_wakes_its_agentnode_and_its_status_does_not() -> None:
    woken = Woken()
    assert await woken.told("Agent", make_agent()) == {NODE, AGENT}
    assert await woken.told("Agent", version(make_agent(), "11")) == {AGENT}
    assert await woken.told("Agent", version(make_agent(), "12", generation=2)) == {NODE, AGENT}


@pytest.mark.parametrize(
    ("kind", "held"),
    [
        pytest.param("AgentNode", make_node(), id="status of an AgentNode"),
        pytest.param("Agent", make_agent(), id="status of an Agent"),
        pytest.param("Deployment", make_child("Deployment", make_node()), id="a child"),
    ],
)
async def test_our_own_write_wakes_nobody(kind: str, held: Resource) -> None:
    woken = Woken()
    await woken.told(kind, held)
    woken.echoes[(kind, "ns", held.meta.name), "11"] = True
    assert await woken.told(kind, version(held, "11")) == set()
    assert await woken.told(kind, version(held, "12")) != set(), "somebody else's does"


async def test_an_edit_that_came_with_our_own_write_wakes() -> None:
    woken = Woken()
    await woken.told("AgentNode", make_node())
    woken.echoes[NODE, "11"] = True
    assert await woken.told("AgentNode", version(make_node(), "11", generation=2)) == {NODE}
    woken.echoes[NODE, "12"] = True
    paused = version(make_node(), "12", generation=2, annotations={"switchboard.dev/paused": "true"})
    assert await woken.told("AgentNode", paused) == {NODE}


async def test_what_comes_while_its_object_is_written_wakes_once_the_answer_is_there() -> None:
    woken = Woken()
    await woken.told("AgentNode", make_node())
    woken.echoes[NODE, "11"] = None
    assert await woken.told("AgentNode", version(make_node(), "11")) == set()
    del woken.echoes[NODE, "11"]
    async with asyncio.timeout(60):
        while not len(woken.queue):
            await asyncio.sleep(0.01)
    assert await woken.keys() == {NODE}


async def test_a_pod_wakes_its_agentnode_when_something_of_it_counts() -> None:
    woken = Woken()
    for pod, gone, wakes in (
        (make_pod(ready=False), False, True),
        (make_pod(ready=False), False, False),
        (make_pod(ready=True), False, True),
        (make_pod(ready=True), True, True),
        (make_pod(ready=True), False, True),
        (make_pod("stranger", node=""), False, False),
    ):
        woken.pokes.pod_changed(pod, gone)
        assert await woken.keys() == ({NODE} if wakes else set())


async def test_endpoints_wake_an_agentnode_when_a_zone_is_told() -> None:
    woken = Woken()
    told: list[tuple[dict[str, str], bool]] = [({}, False), ({"uid": "a"}, True), ({"uid": "a"}, False), ({}, True)]
    for zones, wakes in told:
        woken.pokes.zones_changed(("ns", "writers-abc"), "writers", zones)
        assert await woken.keys() == ({NODE} if wakes else set())


async def test_after_a_new_listing_everything_wakes_again() -> None:
    woken = Woken()
    await woken.told("AgentNode", make_node())
    woken.pokes.pod_changed(make_pod(), False)
    await woken.keys()
    woken.pokes.listing_begins()
    assert await woken.told("AgentNode", make_node()) == {NODE, AGENT}
    woken.pokes.pod_changed(make_pod(), False)
    assert await woken.keys() == {NODE}
