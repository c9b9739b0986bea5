"""The operator's wall clock jumps while it leads and hears an instance."""

import asyncio
from pathlib import Path

import pytest
from fake_sidecar import Sidecar, pods_of
from operator_process import StartOperator, agent_node, eventually
from wall_clock import make_wall_clock, wrong_by_s

from switchboard_kube import AGENT_NODES, DEPLOYMENTS, LEASES, Json, Kube

pytestmark = pytest.mark.integration

QUICK = {"intervalSeconds": 1, "missedUntilDegraded": 2, "missedUntilDown": 4}
HOUR_S = 3600
# One every 2 s: longer than the Lease lasts, and than a silent instance is borne with
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
    await kube.create(AGENT_NODES, agent_node(namespace, replicas=1, heartbeat=QUICK))
    [pod] = await pods_of(kube, namespace, 1)
    speaker = Sidecar(pod, "writers")
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
