"""The operator's wall clock jumps while it leads and hears an instance."""

import asyncio
from pathlib import Path

import pytest
from fake_sidecar import Sidecar, pods_of
from operator_process import StartOperator, agent_node, eventually
from wall_clock import make_wall_clock, wrong_by_s

from switchboard_kube import AGENT_NODES, DEPLOYMENTS, LEASES, Json, Kube

pytestmark = pytest.mark.integration

# Longer than a machine stands still, and far below the jump
PATIENT = {"intervalSeconds": 1, "missedUntilDegraded": 60, "missedUntilDown": 120}
# … and between two heartbeats the operator judges their age a few times, once a second
BEAT_S = 5
HOUR_S = 3600
# One every 2 s: longer than the Lease lasts
RENEWALS = 9


@pytest.mark.parametrize(
    "seconds",
    [pytest.param(HOUR_S, id="an hour forward"), pytest.param(-HOUR_S, id="an hour back", marks=pytest.mark.long)],
)
async def test_a_jump_of_the_clock_costs_neither_the_lease_nor_an_instance(
    seconds: int, kube: Kube, namespace: str, tmp_path: Path, start_operator: StartOperator
) -> None:
    clock = make_wall_clock(tmp_path)
    operator = start_operator("operator-a", **clock.environment)
    await kube.create(AGENT_NODES, agent_node(namespace, replicas=1, heartbeat=PATIENT))
    [pod] = await pods_of(kube, namespace, 1)
    speaker = Sidecar(pod, "writers")
    speaker.beat_s = BEAT_S
    speaker.speak(operator.registry_port)

    async def instance() -> Json:
        node = await kube.get(AGENT_NODES, "writers", namespace)
        return next(iter((node.get("status") or {}).get("instances") or ()), {})

    before = await eventually(instance, lambda told: told.get("state") == "Up", "the instance to be Up")
    clock.jump(seconds)
    url = f"http://127.0.0.1:{operator.ops_port}/livez"
    await eventually(lambda: asyncio.to_thread(wrong_by_s, url), lambda wrong: abs(wrong - seconds) < 60, "the jump")
    seen: set[str] = set()

    async def renewals() -> int:
        seen.add((await kube.get(LEASES, "switchboard-operator", namespace))["spec"]["renewTime"])
        return len(seen)

    await eventually(renewals, lambda count: count > RENEWALS, "renewals by the clock that is wrong")
    await kube.create(AGENT_NODES, agent_node(namespace, "after"))
    await eventually(lambda: kube.get(DEPLOYMENTS, "after", namespace), what="work after the jump")

    assert await instance() == before, "it was taken for silent"
    assert "does not lead any more" not in operator.log()
    await speaker.fall_silent()
