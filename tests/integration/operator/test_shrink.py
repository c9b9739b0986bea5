"""A pool that shrinks, with the ReplicaSet controller of a real control plane: the pod with work stays."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from fake_sidecar import Sidecar, pods_of
from operator_process import OperatorProcess, StartOperator, agent_node, eventually

from switchboard_kube import AGENT_NODES, DEPLOYMENTS, PODS, Json, Kube, Selector
from switchboard_wire import names
from switchboard_wire.v1.frames_pb2 import Load

pytestmark = pytest.mark.integration


async def make_ready(kube: Kube, pod: Json, since: str) -> None:
    """As kubelet would tell it."""
    metadata = pod["metadata"]
    ready = {"type": "Ready", "status": "True", "lastTransitionTime": since}
    await kube.patch_status(PODS, metadata["name"], metadata["namespace"], {"phase": "Running", "conditions": [ready]})


@contextlib.asynccontextmanager
async def speaking(pods: list[Json], operator: OperatorProcess) -> AsyncIterator[dict[str, Sidecar]]:
    speakers = {pod["metadata"]["name"]: Sidecar(pod, "writers") for pod in pods}
    for speaker in speakers.values():
        speaker.speak(operator.registry_port)
    try:
        yield speakers
    finally:
        await asyncio.gather(*(speaker.fall_silent() for speaker in speakers.values()))


async def test_the_busy_pod_stays_though_kubernetes_would_take_it_first(
    kube: Kube, namespace: str, start_operator: StartOperator
) -> None:
    operator = start_operator()
    await kube.create(AGENT_NODES, agent_node(namespace, replicas=3))
    pods = await pods_of(kube, namespace, 3)
    # Of ready pods the controller takes the one that is ready for the shortest time
    for pod, since in zip(pods, ("2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z", "2026-10-01T00:00:00Z"), strict=True):
        await make_ready(kube, pod, since)
    busy = pods[2]["metadata"]["name"]
    async with speaking(pods, operator) as speakers:
        speakers[busy].beat.load.CopyFrom(Load(in_flight=1, messages=1))
        await eventually(
            lambda: kube.get(AGENT_NODES, "writers", namespace),
            lambda node: (node.get("status") or {}).get("counts", {}).get("up") == 3,
            "three instances up",
        )
        await kube.patch(AGENT_NODES, "writers", namespace, {"spec": {"replicas": 1}}, subresource="scale")
        selector = Selector(namespace, labels=f"{names.NODE_LABEL}=writers")
        left = await eventually(lambda: kube.list(PODS, selector), lambda found: len(found.items) == 1, "one pod")

    assert left.items[0]["metadata"]["name"] == busy
    assert names.DELETION_COST_ANNOTATION not in left.items[0]["metadata"].get("annotations", {})


async def test_a_pool_whose_instances_say_nothing_shrinks_all_the_same(
    kube: Kube, namespace: str, start_operator: StartOperator
) -> None:
    start_operator()
    await kube.create(AGENT_NODES, agent_node(namespace, replicas=2))
    for pod in await pods_of(kube, namespace, 2):
        await make_ready(kube, pod, "2026-01-01T00:00:00Z")
    await kube.patch(AGENT_NODES, "writers", namespace, {"spec": {"replicas": 1}}, subresource="scale")
    await eventually(lambda: kube.get(DEPLOYMENTS, "writers", namespace), lambda held: held["spec"]["replicas"] == 1)
    await pods_of(kube, namespace, 1)
