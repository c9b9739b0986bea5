"""A process that speaks to the operator's registry for every ready pod of a namespace, as their sidecars would.

    KUBECONFIG=… python -m bench.fake_sidecars NAMESPACE 127.0.0.1:7420 [--all-but POOL]

It says at once that it hosts what it is assigned, and writes how many instances are registered and heartbeats are sent
to its standard output, a JSON object a second.
"""

import argparse
import asyncio
import contextlib
import functools
import json
import random
from dataclasses import dataclass
from typing import Any, Final

from bench.fake_line import FakeLine, Stream
from switchboard_kube import PODS, EventType, Selector, connect
from switchboard_wire import names
from switchboard_wire.internal_v1.registry_pb2 import Directive, Heartbeat, Report
from switchboard_wire.v1 import frames_pb2 as pb

# Connections are shared: a thousand sockets would measure this process
STREAMS_PER_LINE: Final = 100
FIRST_INTERVAL_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Told:
    """What a directive says: the pace of heartbeats (0: nothing), what is to be hosted (None: nothing)."""

    interval_s: float
    hosted: pb.Hosted | None


@functools.lru_cache(maxsize=256)
def read(message: bytes) -> Told:
    """The directive; those of one pool are the same."""
    directive = Directive.FromString(message)
    hosted = None
    if directive.HasField("assignments"):
        agents = [
            pb.HostedAgent(name=a.name, type=a.type, version=a.version, state=pb.HOSTED_READY)
            for a in directive.assignments.agents
        ]
        hosted = pb.Hosted(generation=directive.assignments.generation, agents=agents)
    return Told(directive.registered.heartbeat_interval_ms / 1000, hosted)


class Speaker:
    """One pod's sidecar: a hello, heartbeats, and what it hosts whenever that has changed."""

    def __init__(self, speakers: "Speakers", hello: pb.Hello, number: int) -> None:
        self._speakers, self._hello, self._number = speakers, hello, number
        self._line: FakeLine | None = None
        self._stream: Stream | None = None
        self._load = pb.Load(cpu=0.2, memory=0.3)
        self._hosted, self._is_news = pb.Hosted(), True
        self._interval_s = FIRST_INTERVAL_S
        self._timer: asyncio.TimerHandle | None = None
        self._job = asyncio.create_task(self._connect())

    def end(self) -> None:
        """The pod is gone."""
        self._job.cancel()
        if self._timer is not None:
            self._timer.cancel()
        if self._line is not None and self._stream is not None:
            self._line.close(self._stream)

    async def _connect(self) -> None:
        while True:
            with contextlib.suppress(OSError):
                self._line = await self._speakers.line(self._number // STREAMS_PER_LINE)
                break
            await asyncio.sleep(random.uniform(0.5, 1.5))
        self._stream = self._line.open(self._hear, self._ended)
        self._line.say(self._stream, Report(hello=self._hello).SerializeToString())
        self._is_news = True
        self._beat()

    def _ended(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        asyncio.get_running_loop().call_later(random.uniform(0.5, 1.5), self._again)

    def _again(self) -> None:
        self._job = asyncio.create_task(self._connect())

    def _hear(self, message: bytes) -> None:
        told = read(message)
        self._interval_s = told.interval_s or self._interval_s
        if told.hosted is not None:
            self._hosted, self._is_news = told.hosted, True
            self._speakers.hosted[self._hello.pod_uid] = len(told.hosted.agents)
            self._beat()

    def _beat(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(self._interval_s * random.uniform(0.9, 1), self._beat)
        self._load.messages += 1
        self._load.in_flight = random.randrange(3)
        hosted = self._hosted if self._is_news else None
        beat = Heartbeat(ready=True, load=self._load, hosted=hosted, generation=self._hosted.generation)
        if self._line is not None and self._stream is not None:
            was_said = self._line.say(self._stream, Report(heartbeat=beat).SerializeToString())
            self._is_news = self._is_news and not was_said
            self._speakers.beats += was_said


class Speakers:
    """The sidecars of all pods."""

    def __init__(self, address: str, all_but: str) -> None:
        self._address, self._all_but = address, all_but
        self._lines: dict[int, FakeLine] = {}
        self._dialling = asyncio.Lock()
        self._speakers: dict[str, Speaker] = {}
        self.beats = 0
        self.hosted: dict[str, int] = {}

    def pod_said(self, pod: Any, gone: bool) -> None:
        """Begin to speak for a pod when it is ready, and end with it."""
        meta = pod["metadata"]
        uid, pool = meta["uid"], (meta.get("labels") or {}).get(names.NODE_LABEL, "")
        if gone:
            if speaker := self._speakers.pop(uid, None):
                speaker.end()
            self.hosted.pop(uid, None)
        elif uid not in self._speakers and pool != self._all_but and is_ready(pod):
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
            self._speakers[uid] = Speaker(self, hello, len(self._speakers))

    async def line(self, number: int) -> FakeLine:
        """An open connection for the streams that have this number. Raises OSError."""
        async with self._dialling:
            line = self._lines.get(number)
            if line is None or not line.is_open:
                host, _, port = self._address.rpartition(":")
                _, line = await asyncio.get_running_loop().create_connection(FakeLine, host, int(port))
                self._lines[number] = line
            return line


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
