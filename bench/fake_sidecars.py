"""A process that speaks to the operator's registry for every ready pod of a namespace, as their sidecars would.

    KUBECONFIG=… python -m bench.fake_sidecars NAMESPACE 127.0.0.1:7420 [--all-but POOL]

It says at once that it hosts what it is assigned, and writes how many instances are registered and heartbeats are sent
to its standard output, a JSON object a second.
"""

import argparse
import asyncio
import contextlib
import json
import random
from collections.abc import AsyncIterator
from typing import Any, Final

import grpc.aio

from switchboard_kube import PODS, EventType, Selector, connect
from switchboard_wire import names
from switchboard_wire.internal_v1.registry_pb2 import Directive, Heartbeat, Report
from switchboard_wire.v1 import frames_pb2 as pb

# Connections are shared: a thousand sockets would measure this process
STREAMS_PER_CHANNEL: Final = 100


class Speakers:
    """The streams of all pods."""

    def __init__(self, address: str, all_but: str) -> None:
        self._address, self._all_but = address, all_but
        self._channels: list[grpc.aio.Channel] = []
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self.beats = 0
        self.hosted: dict[str, int] = {}

    def pod_said(self, pod: Any, gone: bool) -> None:
        """Begin to speak for a pod when it is ready, and end with it."""
        meta = pod["metadata"]
        uid, pool = meta["uid"], (meta.get("labels") or {}).get(names.NODE_LABEL, "")
        if gone:
            if task := self._tasks.pop(uid, None):
                task.cancel()
            self.hosted.pop(uid, None)
        elif uid not in self._tasks and pool != self._all_but and is_ready(pod):
            hello = pb.Hello(
                protocol_min=1,
                protocol_max=1,
                namespace=meta["namespace"],
                node=pool,
                instance=meta["name"],
                pod_uid=uid,
                version="0.1.0",
                capacity=pb.Capacity(concurrency=16, queue=100),
            )
            self._tasks[uid] = asyncio.create_task(self._speak(hello, len(self._tasks)))

    async def _speak(self, hello: pb.Hello, number: int) -> None:
        while True:
            with contextlib.suppress(grpc.aio.AioRpcError):
                await self._stream(hello, self._channel(number // STREAMS_PER_CHANNEL))
            await asyncio.sleep(random.uniform(0.5, 1.5))

    async def _stream(self, hello: pb.Hello, channel: grpc.aio.Channel) -> None:
        poked, interval = asyncio.Event(), [2.0]
        hosted = pb.Hosted()

        async def reports() -> AsyncIterator[Report]:
            yield Report(hello=hello)
            load = pb.Load(cpu=0.2, memory=0.3)
            while True:
                poked.clear()
                self.beats += 1
                load.messages += 1
                load.in_flight = random.randrange(3)
                yield Report(heartbeat=Heartbeat(ready=True, load=load, hosted=hosted, generation=hosted.generation))
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(interval[0] * random.uniform(0.9, 1)):
                        await poked.wait()

        call = channel.stream_stream(names.REGISTRY_METHOD, Report.SerializeToString, Directive.FromString)
        async for directive in call(reports()):
            if directive.HasField("registered"):
                interval[0] = directive.registered.heartbeat_interval_ms / 1000
            if directive.HasField("assignments"):
                assigned = directive.assignments
                agents = [
                    pb.HostedAgent(name=a.name, type=a.type, version=a.version, state=pb.HOSTED_READY)
                    for a in assigned.agents
                ]
                hosted = pb.Hosted(generation=assigned.generation, agents=agents)
                self.hosted[hello.pod_uid] = len(agents)
                poked.set()

    def _channel(self, number: int) -> grpc.aio.Channel:
        while len(self._channels) <= number:
            options = [("grpc.use_local_subchannel_pool", 1)]
            self._channels.append(grpc.aio.insecure_channel(self._address, options=options))
        return self._channels[number]


def is_ready(pod: Any) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


async def speak_for(namespace: str, address: str, all_but: str) -> None:
    speakers = Speakers(address, all_but)

    async def report() -> None:
        while True:
            await asyncio.sleep(1)
            hosted = speakers.hosted
            told = {"instances": len(hosted), "agents": sum(hosted.values()), "beats": speakers.beats}
            print(json.dumps(told), flush=True)

    telling = asyncio.create_task(report())
    async with connect() as kube:
        async for event in kube.watch(PODS, Selector(namespace, labels=names.NODE_LABEL)):
            if event.type is not EventType.SYNCED:
                speakers.pod_said(event.object, event.type is EventType.DELETED)
    telling.cancel()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.fake_sidecars")
    parser.add_argument("namespace")
    parser.add_argument("address")
    parser.add_argument("--all-but", default="")
    given = parser.parse_args()
    asyncio.run(speak_for(given.namespace, given.address, given.all_but))


if __name__ == "__main__":
    main()
