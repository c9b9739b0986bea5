"""The two ends of a sidecar, made of the wire alone: a gateway that it dials, a host that dials it, an operator."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import json_format
from grpc import aio

from switchboard_sidecar.drain_request import request_drain
from switchboard_sidecar.settings import Settings
from switchboard_sidecar.sidecar import Sidecar
from switchboard_wire import names
from switchboard_wire.calls import IncomingCall, OutgoingCall, Payload, call_unary, new_open
from switchboard_wire.internal_v1 import registry_pb2
from switchboard_wire.limits import SERVER_OPTIONS
from switchboard_wire.listening import serve_tcp
from switchboard_wire.peer import Peer, PeerEvents
from switchboard_wire.sockets import SocketPeer, dial_socket, run_socket
from switchboard_wire.v1 import frames_pb2 as pb

PATIENCE_S = 120.0
Answer = Callable[[IncomingCall], Awaitable[None]]


async def until(condition: Callable[[], object]) -> None:
    """Wait until it holds; fail after a generous time."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.005)


async def echo(call: IncomingCall) -> None:
    """Answer with the payload."""
    await call.close(Payload(await call.body(1 << 24), call.first.content_type), processing_us=5)


def assignment(name: str = "echo", **fields: Any) -> pb.Assignment:
    """A python Agent unless `http` or `registered=True` says otherwise."""
    if not fields.pop("registered", False) and "http" not in fields:
        fields.setdefault("python", pb.PythonHandler(entry=f"app:{name}"))
    fields.setdefault("type", name)
    return pb.Assignment(name=name, **fields)


def write_assignments(path: Path, *agents: pb.Assignment, **fields: Any) -> None:
    """Write the file as a ConfigMap mount does: whole, under a new inode."""
    fields.setdefault("generation", 1)
    fields.setdefault("drain_ms", 10_000)
    text = json_format.MessageToJson(pb.Assignments(agents=agents, **fields))
    fresh = path.with_suffix(".new")
    fresh.write_text(text)
    fresh.replace(path)


class FakeGateway:
    """Serves links. `peer` is the newest link; calls of the host go to `answer`."""

    def __init__(self) -> None:
        self.hellos: list[pb.Hello] = []
        self.hosted: list[pb.Hosted] = []
        self.controls: list[pb.Frame] = []
        self.peers: list[SocketPeer] = []
        self.opened: list[IncomingCall] = []
        self.answer: Answer | None = echo
        self.greets = True
        self.address = ""
        self._tasks: set[asyncio.Task[Any]] = set()
        self._serving = contextlib.AsyncExitStack()

    @property
    def peer(self) -> SocketPeer:
        return self.peers[-1]

    @property
    def ready(self) -> set[str]:
        """Names of the agents that are announced as ready."""
        hosted = self.hosted[-1] if self.hosted else pb.Hosted()
        return {agent.name for agent in hosted.agents if agent.state == pb.HOSTED_READY}

    async def start(self, address: str = "127.0.0.1:0") -> None:
        host, _, port = address.rpartition(":")
        self.address = f"{host}:{await self._serving.enter_async_context(serve_tcp(host, int(port), self._accept))}"

    async def stop(self) -> None:
        await self._serving.aclose()
        for peer in list(self.peers):
            peer.end("stopped")

    def _accept(self, service: str, peer: SocketPeer) -> PeerEvents | None:
        assert service == names.LINK_SERVICE
        peer.label = "the sidecar"
        self.peers.append(peer)
        if self.greets:
            peer.send(pb.Frame(kind=pb.HELLO, hello=pb.Hello(protocol_min=1, protocol_max=1, gateway="g")))
        task = asyncio.ensure_future(run_socket(peer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return self

    def on_open(self, peer: Peer, frame: pb.Frame) -> None:
        call = IncomingCall(peer, frame)
        self.opened.append(call)
        if self.answer is not None:
            task = asyncio.ensure_future(self.answer(call))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def on_control(self, peer: Peer, frame: pb.Frame) -> None:
        self.controls.append(frame)
        if frame.kind == pb.HELLO:
            self.hellos.append(frame.hello)
            self.hosted.append(frame.hello.hosted)
        elif frame.kind == pb.HOSTED:
            self.hosted.append(frame.hosted)

    def on_lost(self, peer: Peer) -> None:
        self.peers = [other for other in self.peers if other is not peer]

    async def call(self, type_: str = "echo", data: bytes = b"hi", **fields: Any) -> pb.Frame:
        """One unary call; returns the CLOSE. Raises SwitchboardError."""
        return await call_unary(self.peer, new_call(type_, **fields), Payload(data, "text/plain"))

    def open(self, type_: str = "echo", data: bytes = b"hi", *, end: bool = True, **fields: Any) -> OutgoingCall:
        return OutgoingCall(self.peer, new_open(new_call(type_, **fields), Payload(data), end=end))


def new_call(type_: str, **fields: Any) -> pb.Open:
    fields.setdefault("deadline_ms", 60_000)
    return pb.Open(target=pb.Target(type=type_, key=fields.pop("key", "")), **fields)


class FakeHost:
    """Dials the socket; hosts what it is assigned, in the state that `states` says (ready). redials: when cut off."""

    def __init__(self, socket: Path, answer: Answer | None = echo, *, redials: bool = False) -> None:
        self.answer = answer
        self.redials = redials
        self.assigned: list[pb.Assignments] = []
        self.opened: list[IncomingCall] = []
        self.states: dict[str, int] = {}
        self.registered: list[pb.HostedAgent] = []
        self.answers_assign = True
        self.peer: Peer = Peer(self, dialled=True, label="the sidecar")  # replaced when it attaches
        self._socket = socket
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> str:
        """Attach until cancelled or cut off for good."""
        reason = await self._attach()
        while self.redials:
            reason = await self._attach()
        return reason

    async def _attach(self) -> str:
        self.peer = peer = await self._dial()
        peer.send(pb.Frame(kind=pb.HELLO, hello=pb.Hello(protocol_min=1, protocol_max=1, version="test")))
        return await run_socket(peer)

    async def _dial(self) -> SocketPeer:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                with contextlib.suppress(OSError):  # it is bound a moment before it listens
                    return await dial_socket(self._socket, names.ATTACH_SERVICE, self, "the sidecar")
                await asyncio.sleep(0.005)

    def on_open(self, peer: Peer, frame: pb.Frame) -> None:
        call = IncomingCall(peer, frame)
        self.opened.append(call)
        if self.answer is not None:
            task = asyncio.ensure_future(self.answer(call))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def on_control(self, peer: Peer, frame: pb.Frame) -> None:
        if frame.kind == pb.ASSIGN:
            self.assigned.append(frame.assignments)
            if self.answers_assign:
                self.say()

    def on_lost(self, peer: Peer) -> None:
        """The sidecar went."""

    def say(self) -> None:
        """Send HOSTED for the newest assignments."""
        newest = self.assigned[-1]
        agents = [
            pb.HostedAgent(
                name=agent.name,
                type=agent.type,
                version=agent.version,
                state=self.states.get(agent.name, pb.HOSTED_READY),
                message="broken" if self.states.get(agent.name) == pb.HOSTED_FAILED else "",
            )
            for agent in newest.agents
            if agent.HasField("python")
        ]
        hosted = pb.Hosted(generation=newest.generation, agents=[*agents, *self.registered])
        self.peer.send(pb.Frame(kind=pb.HOSTED, hosted=hosted))

    async def call(self, type_: str, data: bytes = b"from host", **fields: Any) -> pb.Frame:
        return await call_unary(self.peer, new_call(type_, **fields), Payload(data))


class FakeOperator:
    """Serves Registry/Connect: registers everybody, keeps what it is told."""

    def __init__(self, interval_ms: int = 200) -> None:
        self.interval_ms = interval_ms
        self.hellos: list[pb.Hello] = []
        self.heartbeats: list[registry_pb2.Heartbeat] = []
        self.tokens: list[str] = []
        self.outbox: asyncio.Queue[registry_pb2.Directive] = asyncio.Queue()
        self.address = ""
        self._server: aio.Server | None = None

    async def start(self, address: str = "127.0.0.1:0") -> None:
        self._server = aio.server(options=SERVER_OPTIONS)
        _, service, method = names.REGISTRY_METHOD.split("/")
        handler = grpc.stream_stream_rpc_method_handler(
            self._connect,
            request_deserializer=registry_pb2.Report.FromString,
            response_serializer=registry_pb2.Directive.SerializeToString,
        )
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {method: handler}),))
        self.address = f"127.0.0.1:{self._server.add_insecure_port(address)}"
        await self._server.start()

    async def stop(self) -> None:
        if self._server is not None:
            await self._server.stop(None)

    async def _connect(self, reports: AsyncIterator[registry_pb2.Report], context: Any) -> None:
        writing = asyncio.Lock()  # grpc takes one write at a time
        sender = asyncio.ensure_future(self._send(context, writing))
        try:
            async for report in reports:
                if report.HasField("hello"):
                    self.hellos.append(report.hello)
                    registered = registry_pb2.Registered(operator="op", heartbeat_interval_ms=self.interval_ms)
                    async with writing:
                        await context.write(registry_pb2.Directive(registered=registered))
                if report.HasField("auth"):
                    self.tokens.append(report.auth.token)
                if report.HasField("heartbeat"):
                    self.heartbeats.append(report.heartbeat)
        finally:
            sender.cancel()

    async def _send(self, context: Any, writing: asyncio.Lock) -> None:
        while True:
            directive = await self.outbox.get()
            async with writing:
                await context.write(directive)


@dataclass
class Stage:
    """A sidecar with its ends. Enter `running` to start it."""

    folder: Path
    gateway: FakeGateway
    settings: Settings
    sidecar: Sidecar | None = None
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    hosts: list[tuple[FakeHost, asyncio.Task[str]]] = field(default_factory=list)

    @property
    def ops(self) -> str:
        assert self.sidecar is not None
        return f"http://127.0.0.1:{self.sidecar.ops_port}"

    def assign(self, *agents: pb.Assignment, **fields: Any) -> None:
        write_assignments(self.settings.assignments_path, *agents, **fields)

    def attach(self, answer: Answer | None = echo, *, redials: bool = False) -> FakeHost:
        """Start one more host."""
        host = FakeHost(self.settings.socket_path, answer, redials=redials)
        self.hosts.append((host, asyncio.ensure_future(host.run())))
        return host

    async def detach(self, host: FakeHost) -> None:
        for found, task in self.hosts:
            if found is host:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    async def drain(self) -> int:
        """What the sidecar's preStop does."""
        return await request_drain(self.settings.socket_path, "test")


@contextlib.asynccontextmanager
async def staged(folder: Path, **settings: Any) -> AsyncIterator[Stage]:
    """A stage with a gateway that listens and a sidecar that is not started."""
    gateway = FakeGateway()
    await gateway.start()
    defaults = Settings(
        namespace="ns",
        node="writers",
        instance="writers-1",
        pod_uid="uid-1",
        socket_path=folder / "host.sock",
        assignments_path=folder / "assignments.json",
        gateways=(gateway.address,),
        ops_port=0,
        version="test",
    )
    stage = Stage(folder, gateway, replace(defaults, **settings))
    try:
        yield stage
    finally:
        for host, _ in stage.hosts:
            await stage.detach(host)
        await gateway.stop()


@contextlib.asynccontextmanager
async def running(stage: Stage) -> AsyncIterator[Sidecar]:
    """Run the sidecar while the context is open; it is stopped at once at the end."""
    stage.sidecar = sidecar = Sidecar(stage.settings)
    task = asyncio.ensure_future(sidecar.run(stage.stop))
    try:
        await until(lambda: sidecar.ops_port is not None or task.done())
        yield sidecar
    finally:
        for host, _ in stage.hosts:
            await stage.detach(host)
        stage.stop.set()
        async with asyncio.timeout(PATIENCE_S):
            await task


def load_json(text: str) -> Any:
    return json.loads(text)
