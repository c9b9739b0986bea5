"""A real core with real HTTP around it; the instance is one in this process."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace

from aiohttp import ClientSession, ClientTimeout
from prometheus_client import CollectorRegistry

from switchboard_gateway.access.security import OPEN, Security
from switchboard_gateway.core import Core
from switchboard_gateway.instances import Instance
from switchboard_gateway.metrics import GatewayMetrics
from switchboard_gateway.rest import RestLimits, serve_rest
from switchboard_routing.policy import AgentPolicy
from switchboard_wire.calls import IncomingCall, Payload
from switchboard_wire.errors import ErrorValue
from switchboard_wire.peer import Peer, local_pair
from switchboard_wire.v1 import frames_pb2 as pb

AgentHandler = Callable[[IncomingCall], Awaitable[None]]
DEADLINE_S = 120


class FakeInstance:
    """Answers calls by the handler of their Agent, each in a task that a cancelled call cancels."""

    def __init__(self) -> None:
        self.handlers: dict[str, AgentHandler] = {}
        self.seen: list[pb.Open] = []
        self.cancelled = 0
        self._tasks: dict[int, asyncio.Task[None]] = {}

    def on_open(self, peer: Peer, frame: pb.Frame) -> None:
        opened = pb.Open()
        opened.CopyFrom(frame.open)
        self.seen.append(opened)
        number = frame.call
        call = IncomingCall(peer, frame, lambda: self._cancel(number))
        task = asyncio.ensure_future(self.handlers[opened.agent](call))
        self._tasks[number] = task
        task.add_done_callback(lambda _: self._tasks.pop(number))

    def _cancel(self, number: int) -> None:
        self.cancelled += 1
        self._tasks[number].cancel()

    def on_control(self, peer: Peer, frame: pb.Frame) -> None:
        pass

    def on_lost(self, peer: Peer) -> None:
        pass


@dataclass
class Rest:
    """The server under test, and a client of it."""

    core: Core
    fake: FakeInstance
    instance: Instance
    port: int
    client: ClientSession
    policies: dict[str, AgentPolicy] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def host(self, policy: AgentPolicy, handler: AgentHandler | None) -> None:
        """Declare an Agent; with a handler, the instance hosts it."""
        self.policies[policy.name] = policy
        if handler is not None:
            self.fake.handlers[policy.name] = handler
            self.instance.hosted |= {policy.name}
        self.core.set_directory(self.policies.values())


@contextlib.asynccontextmanager
async def serving(limits: RestLimits | None = None, security: Security = OPEN) -> AsyncIterator[Rest]:
    core = Core("default", GatewayMetrics.create(CollectorRegistry()))
    fake = FakeInstance()
    link, _ = local_pair(FakeInstance(), fake)
    instance = Instance(peer=link, namespace="default", node="writers", name="writers-1", zone="a")
    core.add_instance(instance)
    timeout = ClientTimeout(total=DEADLINE_S)
    async with serve_rest(core, "127.0.0.1", 0, limits, security) as port, ClientSession(timeout=timeout) as client:
        yield Rest(core, fake, instance, port, client)


def make_policy(name: str = "echo", **fields: object) -> AgentPolicy:
    return replace(AgentPolicy(namespace="default", name=name, type=name), **fields)  # type: ignore[arg-type]


async def echo(call: IncomingCall) -> None:
    """Answer with the payload, as what it came."""
    await call.close(Payload(await call.body(1 << 26), call.first.content_type), processing_us=1500)


def fails_with(error: ErrorValue) -> AgentHandler:
    async def handler(call: IncomingCall) -> None:
        call.fail(error)

    return handler


async def hangs(call: IncomingCall) -> None:
    """Never answers."""
    await asyncio.Event().wait()


async def eventually(condition: Callable[[], bool]) -> None:
    """Wait until the condition holds."""
    async with asyncio.timeout(DEADLINE_S):
        while not condition():
            await asyncio.sleep(0.005)


async def raw_exchange(port: int, data: bytes) -> bytes:
    """Send bytes on a connection of their own and read up to its end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(data)
        async with asyncio.timeout(DEADLINE_S):
            return await reader.read()
    finally:
        writer.close()
