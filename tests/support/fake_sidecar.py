"""Who speaks for a pod that no kubelet runs: the registry's end of a sidecar."""

import asyncio
from collections.abc import AsyncIterator

import grpc.aio
from operator_process import DEADLINE_S, eventually

from switchboard_kube import PODS, Json, Kube, Selector
from switchboard_wire.internal_v1.registry_pb2 import Directive, Heartbeat, Report
from switchboard_wire.names import REGISTRY_METHOD
from switchboard_wire.v1.frames_pb2 import Capacity, Hello


class Sidecar:
    """Speaks for one pod as a sidecar does, until it is silenced."""

    def __init__(self, pod: Json, node: str) -> None:
        metadata = pod["metadata"]
        self.name: str = metadata["name"]
        self._hello = Hello(
            protocol_min=1,
            protocol_max=1,
            namespace=metadata["namespace"],
            node=node,
            instance=metadata["name"],
            pod_uid=metadata["uid"],
            version="0.1.0",
            capacity=Capacity(concurrency=16, queue=100),
        )
        self.beat = Heartbeat(ready=True)
        self.beat_s = 0.1  # between two of them
        self.heard: list[Directive] = []
        self._silent = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def speak(self, port: int) -> None:
        self._silent.clear()
        self._task = asyncio.create_task(self._talk(port))

    async def fall_silent(self) -> None:
        self._silent.set()
        if self._task is not None:
            await self._task

    async def _talk(self, port: int) -> None:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            async with asyncio.timeout(DEADLINE_S):
                await channel.channel_ready()
            connect = channel.stream_stream(REGISTRY_METHOD, Report.SerializeToString, Directive.FromString)
            try:
                async for directive in connect(self._reports()):
                    self.heard.append(directive)
            except grpc.aio.AioRpcError:
                return

    async def _reports(self) -> AsyncIterator[Report]:
        yield Report(hello=self._hello)
        while not self._silent.is_set():
            yield Report(heartbeat=self.beat)
            await asyncio.sleep(self.beat_s)


async def pods_of(kube: Kube, namespace: str, count: int) -> list[Json]:
    selector = Selector(namespace, labels="switchboard.dev/agentnode=writers")
    listing = await eventually(lambda: kube.list(PODS, selector), lambda found: len(found.items) == count, "the pods")
    return sorted(listing.items, key=lambda pod: str(pod["metadata"]["name"]))
