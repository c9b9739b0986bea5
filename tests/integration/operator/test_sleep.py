"""Scale to zero with a real API server: a gateway's word wakes a pool, an idle one sleeps; the autoscaler stays out."""

import asyncio
import contextlib
import urllib.request
from collections.abc import AsyncIterator

import grpc.aio
import pytest
from fake_sidecar import Sidecar, pods_of
from operator_process import OperatorProcess, StartOperator, agent_node, condition, eventually

from switchboard_kube import AGENT_NODES, DEPLOYMENTS, HORIZONTAL_AUTOSCALERS, Json, Kube
from switchboard_wire.internal_v1.registry_pb2 import Demand, Directive, NodeDemand, Report
from switchboard_wire.names import REGISTRY_METHOD
from switchboard_wire.v1.frames_pb2 import Hello

pytestmark = pytest.mark.integration

SLEEPER = {"minReplicas": 0, "maxReplicas": 3, "idleSeconds": 2}


class Gateway:
    """Speaks for a gateway: says what calls wait, again and again."""

    def __init__(self) -> None:
        self.held = 0

    async def reports(self, namespace: str) -> AsyncIterator[Report]:
        yield Report(hello=Hello(gateway="gateway-a"))
        while True:
            nodes = [NodeDemand(namespace=namespace, node="writers", held=self.held)] if self.held else []
            yield Report(demand=Demand(nodes=nodes))
            await asyncio.sleep(0.2)  # the pace of a gateway's reports


@contextlib.asynccontextmanager
async def speaking(port: int, namespace: str) -> AsyncIterator[Gateway]:
    gateway = Gateway()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        connect = channel.stream_stream(REGISTRY_METHOD, Report.SerializeToString, Directive.FromString)
        async with asyncio.timeout(60):
            await channel.channel_ready()
            call = connect(gateway.reports(namespace))
            first = await call.read()
        assert first.HasField("registered")
        yield gateway
        call.cancel()


@contextlib.asynccontextmanager
async def ready_instance(kube: Kube, namespace: str, operator: OperatorProcess) -> AsyncIterator[None]:
    """The pool's one pod, whose sidecar says that it is ready: one that never was keeps its pool awake."""
    [pod] = await pods_of(kube, namespace, 1)
    sidecar = Sidecar(pod, "writers")
    sidecar.speak(operator.registry_port)
    try:
        yield
    finally:
        await sidecar.fall_silent()


async def test_calls_that_wait_wake_a_pool_which_sleeps_again_when_idle(
    kube: Kube, namespace: str, start_operator: StartOperator
) -> None:
    operator = start_operator()

    async def deployment() -> Json:
        return await kube.get(DEPLOYMENTS, "writers", namespace)

    async def node() -> Json:
        return await kube.get(AGENT_NODES, "writers", namespace)

    await kube.create(AGENT_NODES, agent_node(namespace, replicas=1, autoscaling=SLEEPER))
    await eventually(deployment, lambda held: held["spec"]["replicas"] == 1, "the Deployment")
    async with speaking(operator.registry_port, namespace) as gateway, ready_instance(kube, namespace, operator):
        asleep = await eventually(
            node, lambda held: condition(held, "Ready").get("reason") == "ScaledToZero", "an idle pool asleep"
        )
        assert (condition(asleep, "Ready")["status"], asleep["spec"]["replicas"]) == ("True", 0)
        scaler = await eventually(
            lambda: kube.get(HORIZONTAL_AUTOSCALERS, "writers", namespace),
            lambda held: any(
                c.get("reason") == "ScalingDisabled" for c in (held.get("status") or {}).get("conditions") or ()
            ),
            "the autoscaler to stand still",
        )
        assert scaler["spec"]["minReplicas"] == 1
        await pods_of(kube, namespace, 0)

        gateway.held = 1
        await eventually(deployment, lambda held: held["spec"]["replicas"] == 1, "the pool awake")
        assert (await node())["spec"]["replicas"] == 1
        gateway.held = 0
        async with ready_instance(kube, namespace, operator):
            await eventually(deployment, lambda held: held["spec"]["replicas"] == 0, "the pool asleep again")

        await pods_of(kube, namespace, 0)
        await kube.patch(AGENT_NODES, "writers", namespace, {"spec": {"replicas": 2}}, subresource="scale")
        await pods_of(kube, namespace, 2)
        assert (await node())["spec"]["replicas"] == 2, "who scales it up wakes it too"


async def test_a_pool_of_fixed_size_zero_is_not_woken(
    kube: Kube, namespace: str, start_operator: StartOperator
) -> None:
    operator = start_operator()
    await kube.create(AGENT_NODES, agent_node(namespace, replicas=0))
    async with speaking(operator.registry_port, namespace) as gateway:
        gateway.held = 1
        await eventually(
            lambda: kube.get(AGENT_NODES, "writers", namespace),
            lambda held: condition(held, "Ready").get("reason") == "ScaledToZero",
        )
        # An edit that was made after the word of the gateway came is carried out after it, too
        await kube.patch(AGENT_NODES, "writers", namespace, {"spec": {"concurrency": 3}})
        await eventually(
            lambda: kube.get(AGENT_NODES, "writers", namespace),
            lambda held: held["status"].get("observedGeneration") == held["metadata"]["generation"],
        )
        assert (await kube.get(DEPLOYMENTS, "writers", namespace))["spec"]["replicas"] == 0
        waiting = f'switchboard_operator_held_calls{{agentnode="writers",namespace="{namespace}"}} 1.0'
        assert waiting in await metrics_of(operator)
    await eventually(lambda: metrics_of(operator), lambda text: "held_calls{" not in text, "nobody to wait any more")


async def metrics_of(operator: OperatorProcess) -> str:
    def read() -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{operator.ops_port}/metrics", timeout=60) as answer:
            return str(answer.read().decode())

    return await asyncio.to_thread(read)
