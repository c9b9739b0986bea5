"""A gateway's core between clients and instances in memory."""

import asyncio
from collections.abc import Callable

from prometheus_client import CollectorRegistry

from switchboard_gateway.core import Core
from switchboard_gateway.links import Link
from switchboard_gateway.metrics import GatewayMetrics
from switchboard_routing.policy import AgentPolicy
from switchboard_wire.calls import Payload, call_unary
from switchboard_wire.errors import ErrorValue, close_with
from switchboard_wire.peer import Peer, local_pair
from switchboard_wire.v1 import frames_pb2 as pb

Script = Callable[[Peer, pb.Frame], None]


class FakeInstance:
    """The sidecar's end of a link: answers each OPEN by its script and remembers what came."""

    def __init__(
        self,
        core: Core,
        name: str,
        script: Script,
        *,
        agents: tuple[str, ...] = ("echo",),
        node: str = "pool",
        capacity: pb.Capacity | None = None,
    ) -> None:
        self.name = name
        self.script = script
        self.opened: list[pb.Frame] = []
        self.later: list[pb.Frame] = []
        self.peer, self.far = local_pair(self, Link(core), name)
        hosted = pb.Hosted(agents=[pb.HostedAgent(name=a, type=a, state=pb.HOSTED_READY) for a in agents])
        hello = pb.Hello(namespace="default", node=node, instance=name, pod_uid=name, hosted=hosted, capacity=capacity)
        self.peer.send(pb.Frame(kind=pb.HELLO, hello=hello))

    def on_open(self, peer: Peer, frame: pb.Frame) -> None:
        seen = pb.Frame()
        seen.CopyFrom(frame)
        self.opened.append(seen)
        peer.accept(frame.call, self.later.append)
        self.script(peer, seen)

    def on_control(self, peer: Peer, frame: pb.Frame) -> None:
        pass

    def on_lost(self, peer: Peer) -> None:
        pass

    def die(self) -> None:
        self.peer.lost = True
        self.far.lose("gone")


def echo(peer: Peer, frame: pb.Frame) -> None:
    peer.send(pb.Frame(kind=pb.CLOSE, call=frame.call, data=frame.data))


def silent(peer: Peer, frame: pb.Frame) -> None:
    """Never answers."""


def refuse(code: int, delivered: int = pb.DELIVERED_NO) -> Script:
    def script(peer: Peer, frame: pb.Frame) -> None:
        peer.send(close_with(frame.call, ErrorValue(code, "refused", retry_after_ms=100, delivered=delivered)))

    return script


def policy(**changes: object) -> AgentPolicy:
    base: dict[str, object] = {"namespace": "default", "name": "echo", "type": "echo", "nodes": frozenset({"pool"})}
    return AgentPolicy(**(base | changes))  # type: ignore[arg-type]


def make_core(**changes: object) -> Core:
    made = Core("default", GatewayMetrics.create(CollectorRegistry()))
    made.set_directory([policy(**changes)])
    return made


async def turns(count: int = 10) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def opening(type_: str = "echo", **fields: object) -> pb.Open:
    return pb.Open(target=pb.Target(type=type_), **fields)  # type: ignore[arg-type]


async def request(core: Core, open_: pb.Open | None = None, data: bytes = b"hello") -> pb.Frame:
    return await call_unary(core.attach_local("test"), open_ or opening(), Payload(data))
