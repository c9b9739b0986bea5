"""Small ends of the wire, made of switchboard_wire: a gateway that answers by itself, a sidecar that one host joins."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from grpc import aio

from switchboard.host.deployment import HostSettings
from switchboard.host.process import Host
from switchboard_wire.calls import IncomingCall, OutgoingCall, Payload, call_unary, new_open
from switchboard_wire.errors import SwitchboardError
from switchboard_wire.limits import SERVER_OPTIONS
from switchboard_wire.listening import serve_socket
from switchboard_wire.names import ATTACH_SERVICE, SESSION_METHOD
from switchboard_wire.peer import Peer
from switchboard_wire.sockets import SocketPeer
from switchboard_wire.streams import run_stream, stream_service
from switchboard_wire.v1 import frames_pb2 as pb

WAIT_S = 120.0


class FarEnd:
    """A server with one stream method. answer: what is done with each call that comes in."""

    def __init__(self, method: str, answer: Callable[[IncomingCall], Awaitable[None]] | None = None) -> None:
        self._method = method
        self._answer = answer
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: aio.Server | None = None
        self._socket: contextlib.AsyncExitStack | None = None
        self._sockets: list[SocketPeer] = []
        self.peers: list[Peer] = []
        self.opens: list[pb.Open] = []
        self.cancelled = asyncio.Event()
        self.hosted = pb.Hosted()
        self._changed = asyncio.Condition()
        self.address = ""

    def on_open(self, peer: Peer, frame: pb.Frame) -> None:
        self.opens.append(frame.open)
        assert self._answer is not None
        task = asyncio.ensure_future(self._run(IncomingCall(peer, frame, self.cancelled.set)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, call: IncomingCall) -> None:
        assert self._answer is not None
        try:
            await self._answer(call)
        except SwitchboardError as error:
            call.fail(error.error)

    def on_control(self, peer: Peer, frame: pb.Frame) -> None:
        if frame.kind == pb.HELLO:
            self.peers.append(peer)
        if frame.kind == pb.HOSTED:
            self.hosted = frame.hosted
        if frame.kind in (pb.HELLO, pb.HOSTED):
            self._notify()

    def on_lost(self, peer: Peer) -> None:
        if peer in self.peers:
            self.peers.remove(peer)
        self._notify()

    def _notify(self) -> None:
        async def notify() -> None:
            async with self._changed:
                self._changed.notify_all()

        task = asyncio.ensure_future(notify())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def wait_for(self, claim: Callable[[], bool]) -> None:
        async with asyncio.timeout(WAIT_S), self._changed:
            await self._changed.wait_for(claim)

    async def start(self, address: str) -> None:
        async def serve(_: Any, context: Any) -> None:
            await run_stream(Peer(self, dialled=False, label="test"), context)

        if address.startswith("unix:"):
            self._socket = contextlib.AsyncExitStack()
            await self._socket.enter_async_context(serve_socket(Path(address[5:]), self._accept, 0o600))
            self.address = address
            return
        self._server = aio.server(options=SERVER_OPTIONS)
        self._server.add_generic_rpc_handlers(tuple(stream_service({self._method: serve})))
        port = self._server.add_insecure_port(address)
        await self._server.start()
        self.address = address if address.startswith("unix:") else f"127.0.0.1:{port}"

    def _accept(self, service: str, peer: SocketPeer) -> "FarEnd | None":
        if service != self._method:
            return None
        self._sockets.append(peer)
        return self

    async def stop(self) -> None:
        for peer in self._sockets:
            peer.end("stopped")
        if self._socket is not None:
            await self._socket.aclose()
        if self._server is not None:
            await self._server.stop(0)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@contextlib.asynccontextmanager
async def serving(
    answer: Callable[[IncomingCall], Awaitable[None]], address: str = "127.0.0.1:0"
) -> AsyncIterator[FarEnd]:
    """A gateway on loopback that answers every call with `answer`."""
    end = FarEnd(SESSION_METHOD, answer)
    await end.start(address)
    try:
        yield end
    finally:
        await end.stop()


class Pod:
    """A sidecar's end of the socket with one host attached to it, in this process."""

    def __init__(self, folder: Path) -> None:
        self.code = folder / "code"
        self.code.mkdir()
        self.sidecar = FarEnd(ATTACH_SERVICE, self._route_back)
        self.socket = folder / "host.sock"
        self.stop = asyncio.Event()
        self.host: asyncio.Task[None] | None = None

    async def _route_back(self, call: IncomingCall) -> None:
        """A handler's outbound call: back to the host, as a sidecar does with calls that stay in the pod."""
        opened = call.first.open
        opened.hops += 1
        close = await call_unary(self.peer, opened, Payload(await call.body(1 << 24), call.first.content_type))
        await call.close(Payload(close.data, close.content_type))

    @property
    def peer(self) -> Peer:
        return self.sidecar.peers[-1]

    def write(self, name: str, text: str) -> None:
        (self.code / name).write_text(text)

    async def assign(
        self,
        *agents: pb.Assignment,
        generation: int = 1,
        dynamic: bool = False,
        reserved: Iterable[str] = (),
        drain_ms: int = 0,
    ) -> None:
        """Send assignments and wait until none is loading."""
        await self.sidecar.wait_for(lambda: bool(self.sidecar.peers))
        assignments = pb.Assignments(
            generation=generation, agents=agents, dynamic=dynamic, reserved=reserved, drain_ms=drain_ms
        )
        self.peer.send(pb.Frame(kind=pb.ASSIGN, assignments=assignments))
        await self.sidecar.wait_for(lambda: self._is_settled(generation, len(agents)))

    def _is_settled(self, generation: int, at_least: int) -> bool:
        hosted = self.sidecar.hosted
        loading = [agent.name for agent in hosted.agents if agent.state == pb.HOSTED_LOADING]
        return hosted.generation == generation and not loading and len(hosted.agents) >= at_least

    def states(self) -> dict[str, tuple[int, str]]:
        return {agent.name: (agent.state, agent.message) for agent in self.sidecar.hosted.agents}

    async def request(self, agent: str, data: bytes = b"", content_type: str = "text/plain", **fields: Any) -> pb.Frame:
        key = fields.pop("key", "")
        opened = pb.Open(target=pb.Target(type=agent, key=key), message_id="m-1", **fields)
        return await call_unary(self.peer, opened, Payload(data, content_type))

    def open(self, agent: str, data: bytes = b"", content_type: str = "text/plain") -> OutgoingCall:
        opened = pb.Open(target=pb.Target(type=agent), message_id="m-1")
        return OutgoingCall(self.peer, new_open(opened, Payload(data, content_type), end=True))


def python(name: str, entry: str, config_json: str = "") -> pb.Assignment:
    return pb.Assignment(name=name, type=name, python=pb.PythonHandler(entry=entry, config_json=config_json))


@pytest.fixture
async def pod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Pod]:
    pod = Pod(tmp_path)
    monkeypatch.syspath_prepend(str(pod.code))
    known = set(sys.modules)
    await pod.sidecar.start(f"unix:{pod.socket}")
    pod.host = host = asyncio.create_task(Host(f"unix:{pod.socket}", HostSettings(pod.code)).run(pod.stop))
    try:
        yield pod
    finally:
        pod.stop.set()
        await asyncio.gather(host, return_exceptions=True)
        await pod.sidecar.stop()
        for name in set(sys.modules) - known:
            if str(getattr(sys.modules[name], "__file__", "")).startswith(str(pod.code)):
                del sys.modules[name]
        host.result()


@pytest.fixture
def assignment() -> Callable[..., pb.Assignment]:
    return python


@pytest.fixture
def gateway() -> Callable[..., contextlib.AbstractAsyncContextManager[FarEnd]]:
    return serving
