"""The host's end of the pod: the unix socket on which hosts attach and the preStop asks for the drain."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from switchboard_sidecar.outbound import Outbound
from switchboard_sidecar.roster import Roster
from switchboard_wire import names
from switchboard_wire.calls import IncomingCall, Payload
from switchboard_wire.limits import PROTOCOL
from switchboard_wire.listening import serve_socket
from switchboard_wire.peer import Peer, PeerEvents, ProtocolError
from switchboard_wire.sockets import SocketPeer, run_socket
from switchboard_wire.v1 import frames_pb2 as pb

log = logging.getLogger("sidecar.hosts")

# The host runs as another user of the same pod
SOCKET_MODE = 0o666

DrainNow = Callable[[str], Awaitable[int]]
HostLoad = Callable[[pb.Load], None]


class HostSession:
    """One host on its stream: HELLO → ASSIGN, HOSTED → the roster, its calls → out."""

    def __init__(self, peer: Peer, roster: Roster, outbound: Outbound, on_load: HostLoad) -> None:
        self._roster = roster
        self._outbound = outbound
        self._on_load = on_load
        self.peer = peer
        peer.label = "the host"
        self._greeted = False

    def on_open(self, peer: Peer, frame: pb.Frame) -> None:
        self._outbound.on_open(peer, frame)

    def on_control(self, peer: Peer, frame: pb.Frame) -> None:
        kind = frame.kind
        if kind == pb.PING:
            if frame.ping.HasField("load"):
                self._on_load(frame.ping.load)
        elif kind == pb.HELLO:
            self._greet(frame.hello)
        elif kind == pb.HOSTED:
            self._roster.host_said(peer, frame.hosted)
        elif kind == pb.GOAWAY:
            log.info("the host is going", extra={"reason": frame.goaway.reason})
            self._roster.host_left(peer)

    def on_lost(self, peer: Peer) -> None:
        self._roster.host_left(peer)

    def _greet(self, hello: pb.Hello) -> None:
        check_protocol(hello)
        self._greeted = True
        self._roster.host_came(self.peer)
        if hello.HasField("hosted"):
            self._roster.host_said(self.peer, hello.hosted)
        self.peer.send(pb.Frame(kind=pb.HELLO, hello=pb.Hello(protocol_min=PROTOCOL, protocol_max=PROTOCOL)))
        self.assign()

    def assign(self) -> None:
        """Tell the host what to run, once it has said HELLO and there is something to tell."""
        if self._greeted and self._roster.assignments is not None:
            self.peer.send(pb.Frame(kind=pb.ASSIGN, assignments=self._roster.for_host()))


def check_protocol(hello: pb.Hello) -> None:
    """Raise ProtocolError when no version of the wire is common. A HELLO without a range means the first."""
    low, high = hello.protocol_min or 1, hello.protocol_max or hello.protocol_min or 1
    if not low <= PROTOCOL <= high:
        raise ProtocolError(f"the other end speaks protocol {low} to {high}, this one {PROTOCOL}")


class DrainRequest:
    """The preStop on its stream: its one call is answered when the drain is over, with the number of calls left."""

    def __init__(self, drain: DrainNow) -> None:
        self._drain = drain
        self.task: asyncio.Task[None] | None = None

    def on_open(self, peer: Peer, frame: pb.Frame) -> None:
        self.task = asyncio.ensure_future(self._answer(IncomingCall(peer, frame)))

    def on_control(self, peer: Peer, frame: pb.Frame) -> None:
        """It has nothing else to say."""

    def on_lost(self, peer: Peer) -> None:
        """The drain goes on without it."""

    async def _answer(self, call: IncomingCall) -> None:
        left = await self._drain(call.first.open.method or "asked to drain")
        await call.close(Payload(str(left).encode()))


class HostServer:
    """Serves hosts and the preStop on the unix socket."""

    def __init__(self, roster: Roster, outbound: Outbound, drain: DrainNow, on_load: HostLoad) -> None:
        self._roster = roster
        self._outbound = outbound
        self._drain = drain
        self._on_load = on_load
        self._sessions: set[HostSession] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def connected(self) -> int:
        return len(self._sessions)

    def assign(self) -> None:
        """New assignments: every host hears of them."""
        for session in self._sessions:
            session.assign()

    @asynccontextmanager
    async def serve(self, path: Path) -> AsyncIterator[None]:
        """Listen while open, then end every stream. Raises OSError when the socket cannot be made."""
        await asyncio.to_thread(path.parent.mkdir, parents=True, exist_ok=True)
        async with serve_socket(path, self._accept, SOCKET_MODE):
            try:
                yield
            finally:
                for task in self._tasks:
                    task.cancel()
                await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, service: str, peer: SocketPeer) -> PeerEvents | None:
        if service == names.ATTACH_SERVICE:
            session = HostSession(peer, self._roster, self._outbound, self._on_load)
            # Before its task runs: its HELLO may be here already, and assignments may come before the task does
            self._sessions.add(session)
            self._start(self._run_session(session, peer))
            return session
        if service == names.DRAIN_SERVICE:
            self._start(self._run_drain(peer))
            return DrainRequest(self._drain)
        return None

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run_session(self, session: HostSession, peer: SocketPeer) -> None:
        try:
            reason = await run_socket(peer)
        finally:
            self._sessions.discard(session)
        log.info("a host left", extra={"reason": reason})

    @staticmethod
    async def _run_drain(peer: SocketPeer) -> None:
        await run_socket(peer)
