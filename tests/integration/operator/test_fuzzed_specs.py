"""Specs at random, from the schema, through a real API server to a real operator: no reconcile fails."""

import asyncio
import re
import urllib.request
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from manifests import agents, pools
from operator_process import OperatorProcess, StartOperator, agent_node, eventually

from switchboard_kube import AGENT_NODES, AGENTS, DEPLOYMENTS, ApiError, Kube, Resource

pytestmark = pytest.mark.integration
RESOURCE_QUOTAS = Resource("", "v1", "ResourceQuota", "resourcequotas")
# So many at once; then they go, because ten thousand children would measure the API server
BATCH = 100
ERRORS = re.compile(r'^switchboard_operator_reconciles_total\{[^}]*outcome="error"[^}]*\} (\S+)', re.MULTILINE)
Manifest = dict[str, Any]


@pytest.mark.parametrize("count", [200, pytest.param(3000, marks=pytest.mark.long)])
async def test_no_spec_that_the_api_server_takes_fails_a_reconcile(
    count: int, kube: Kube, namespace: str, start_operator: StartOperator
) -> None:
    await forbid_pods(kube, namespace)
    operator = start_operator()
    taken = 0
    drawn = await asyncio.to_thread(draw, count)
    for begin in range(0, count, BATCH):
        batch = [(number, *drawn[number]) for number in range(begin, min(begin + BATCH, count))]
        made = [one for one in await asyncio.gather(*(create(kube, namespace, *one) for one in batch)) if one]
        taken += len(made)
        for resource, name in made:
            await eventually(lambda r=resource, n=name: kube.get(r, n, namespace), is_told, f"a condition of {name}")
        await asyncio.gather(*(kube.delete(resource, name, namespace) for resource, name in made))

    assert taken > count / 10, "most were refused, which tests the API server alone"
    await kube.create(AGENT_NODES, agent_node(namespace, "ordinary"))
    await eventually(lambda: kube.get(DEPLOYMENTS, "ordinary", namespace), what="work after all of it")
    assert await asyncio.to_thread(failed_reconciles, operator) == 0
    assert "Traceback" not in operator.log()


async def forbid_pods(kube: Kube, namespace: str) -> None:
    """Specs ask for thousands, which would measure the controllers of Kubernetes alone."""
    quota = {"metadata": {"name": "no-pods", "namespace": namespace}, "spec": {"hard": {"pods": "0"}}}
    await kube.create(RESOURCE_QUOTAS, quota)
    told = {"pods": "0"}
    await eventually(
        lambda: kube.get(RESOURCE_QUOTAS, "no-pods", namespace),
        lambda held: (held.get("status") or {}).get("hard") == told,
        "the quota",
    )


def draw(count: int) -> list[tuple[Resource, Manifest]]:
    """So many objects, from the strategies that the unit tests use; the same in every run."""
    drawn: list[tuple[Resource, Manifest]] = []
    quiet = settings(
        max_examples=count // 2,
        database=None,
        derandomize=True,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )

    @quiet
    @given(pool=pools(), agent=agents())
    def collect(pool: Manifest, agent: Manifest) -> None:
        drawn.extend([(AGENT_NODES, pool), (AGENTS, agent)])

    collect()
    while len(drawn) < count:  # fewer differ than were asked for
        drawn.append(drawn[len(drawn) % 7])
    return drawn


async def create(
    kube: Kube, namespace: str, number: int, resource: Resource, manifest: Manifest
) -> tuple[Resource, str] | None:
    """Create it under a name of its own; None when the API server refuses it."""
    name = f"fuzzed-{number}"
    try:
        await kube.create(resource, manifest | {"metadata": {"name": name, "namespace": namespace}})
    except ApiError:
        return None
    return resource, name


def is_told(held: Any) -> bool:
    """Whether the operator has said anything about this generation."""
    conditions = (held.get("status") or {}).get("conditions") or ()
    return any(told.get("observedGeneration") == held["metadata"]["generation"] for told in conditions)


def failed_reconciles(operator: OperatorProcess) -> float:
    with urllib.request.urlopen(f"http://127.0.0.1:{operator.ops_port}/metrics", timeout=60) as answer:
        return sum(float(count) for count in ERRORS.findall(answer.read().decode()))
