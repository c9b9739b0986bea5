"""How often the operator writes to a real API server: counted by itself, for each verb and kind."""

import asyncio
import urllib.request
from collections import Counter
from collections.abc import Sequence

import pytest
from fake_sidecar import Sidecar, pods_of
from operator_process import OperatorProcess, StartOperator, agent, agent_node, eventually
from prometheus_client.parser import text_string_to_metric_families

from switchboard_kube import AGENT_NODES, AGENTS, Kube, Selector
from switchboard_operator.pacing import LONGEST_BEGINNING_S
from switchboard_wire.v1.frames_pb2 import HOSTED_READY, Hosted, HostedAgent, Load

pytestmark = pytest.mark.integration

AGENTS_OF_FLEET = 30
MOST_PER_AGENT = 4
# Longer than any write of a status is held back
QUIET_S = LONGEST_BEGINNING_S + 5.0
BEATS = 50


async def test_a_fleet_costs_few_writes_a_new_agent_fewer_and_a_heartbeat_none(
    kube: Kube, namespace: str, start_operator: StartOperator
) -> None:
    await kube.create(AGENT_NODES, agent_node(namespace, replicas=2))
    for number in range(AGENTS_OF_FLEET):
        await kube.create(AGENTS, agent(namespace, f"agent-{number:02}", nodeRef={"name": "writers"}))
    operator = start_operator()
    sidecars = [Sidecar(pod, "writers") for pod in await pods_of(kube, namespace, 2)]
    try:
        for sidecar in sidecars:
            sidecar.speak(operator.registry_port)
        await host(kube, namespace, sidecars, AGENTS_OF_FLEET)
        fleet = await settled(operator)
        assert fleet.total() <= MOST_PER_AGENT * AGENTS_OF_FLEET, fleet
        # Looked at once it knew all of them: one set of assignments; a second one for the operator's own reasons
        assert fleet["apply", "ConfigMap"] <= 2
        # That it is ready on all instances; that it begins, only where that took long
        assert fleet["status", "Agent"] <= 2 * AGENTS_OF_FLEET
        assert fleet["create", "Event"] <= 3, "of the AgentNode; thousands of Agents tell of no beginning"

        await kube.create(AGENTS, agent(namespace, "one-more", nodeRef={"name": "writers"}))
        await host(kube, namespace, sidecars, AGENTS_OF_FLEET + 1)
        one_more = await settled(operator)
        one_more.subtract(fleet)
        assert (one_more["apply", "ConfigMap"], one_more["apply", "Deployment"]) == (1, 0)
        assert one_more["status", "Agent"] <= 3
        assert one_more["create", "Event"] == 0

        before, beats = await asyncio.to_thread(counted, operator)
        for sidecar in sidecars:
            sidecar.beat.load.CopyFrom(Load(cpu=0.7, memory=0.4, messages=17))
        await eventually(
            lambda: asyncio.to_thread(counted, operator), lambda found: found[1] >= beats + BEATS, "more heartbeats"
        )
        assert (await asyncio.to_thread(counted, operator))[0] == before
    finally:
        for sidecar in sidecars:
            await sidecar.fall_silent()


async def host(kube: Kube, namespace: str, sidecars: Sequence[Sidecar], agents: int) -> None:
    """Say of all that is assigned that it is ready, until status says so too."""

    async def ready() -> bool:
        for sidecar in sidecars:
            assigned = [told.assignments for told in sidecar.heard if told.HasField("assignments")]
            if assigned and len(assigned[-1].agents) == agents:
                hosted = [HostedAgent(name=a.name, type=a.type, state=HOSTED_READY) for a in assigned[-1].agents]
                sidecar.beat.generation = assigned[-1].generation
                sidecar.beat.hosted.CopyFrom(Hosted(generation=assigned[-1].generation, agents=hosted))
        listing = await kube.list(AGENTS, Selector(namespace))
        counts = [(held.get("status") or {}).get("readyInstances", 0) for held in listing.items]
        return counts == [len(sidecars)] * agents

    await eventually(ready, what=f"{agents} Agents ready on every instance")


async def settled(operator: OperatorProcess) -> Counter[tuple[str, str]]:
    """The writes so far, once nothing that was held back is left to be written."""
    while True:
        before, _ = await asyncio.to_thread(counted, operator)
        await asyncio.sleep(QUIET_S)
        after, _ = await asyncio.to_thread(counted, operator)
        if before == after:
            return after


def counted(operator: OperatorProcess) -> tuple[Counter[tuple[str, str]], float]:
    """Its writes by verb and kind, and the heartbeats that it has had."""
    with urllib.request.urlopen(f"http://127.0.0.1:{operator.ops_port}/metrics", timeout=30) as answer:
        text = answer.read().decode()
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    writes = Counter(
        {
            (sample.labels["verb"], sample.labels["kind"]): int(sample.value)
            for sample in samples
            if sample.name == "switchboard_operator_api_writes_total"
        }
    )
    beats = next(s.value for s in samples if s.name == "switchboard_operator_registry_heartbeats_total")
    return writes, beats
