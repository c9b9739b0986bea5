"""The host's end of the pod: the unix socket on which hosts attach and the preStop asks for the drain."""

import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
from grpc import aio

from switchboard_sidecar.outbound import Outbound
from switchboard_sidecar.roster import Roster
from switchboard_wire import names
from switchboard_wire.internal_v1 import links_pb2
from switchboard_wire.limits import PROTOCOL, SERVER_OPTIONS
from switchboard_wire.peer import Peer, ProtocolError
from switchboard_wire.streams import run_stream, stream_service
from switchboard_wire.v1 import frames_pb2 as pb

log = logging.getLogger("sidecar.hosts")

# The host runs as another user of the same pod
SOCKET_MODE = 0o666

DrainNow = Callable[[str], Awaitable[int]]
HostLoad = Callable[[pb.Load], None]


class HostSession:
    """One host on its stream: HELLO → ASSIGN, HOSTED → the roster, its calls → out."""

    def __init__(self, roster: Roster, outbound: Outbound, on_load: HostLoad) -> None:
        self._roster = roster
        self._outbound = outbound
        self._on_load = on_load
        self.peer = Peer(self, dialled=False, label="the host")
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


class HostServer:
    """Serves Hosts/Attach and Drains/Drain on the unix socket."""

    def __init__(self, roster: Roster, outbound: Outbound, drain: DrainNow, on_load: HostLoad) -> None:
        self._roster = roster
        self._outbound = outbound
        self._drain = drain
        self._on_load = on_load
        self._sessions: set[HostSession] = set()
        self._server: aio.Server | None = None

    @property
    def connected(self) -> int:
        return len(self._sessions)

    def assign(self) -> None:
        """New assignments: every host hears of them."""
        for session in self._sessions:
            session.assign()

    async def start(self, path: Path) -> None:
        """Listen. Raises OSError or RuntimeError when the socket cannot be made."""
        path.parent.mkdir(parents=True, exist_ok=True)
        server = aio.server(options=SERVER_OPTIONS)
        server.add_generic_rpc_handlers(tuple(stream_service({names.ATTACH_METHOD: self._attach})))
        server.add_generic_rpc_handlers((_drain_service(self._answer_drain),))
        server.add_insecure_port(f"unix:{path}")
        await server.start()
        path.chmod(SOCKET_MODE)  # noqa: ASYNC240
        self._server = server

    async def stop(self) -> None:
        """End every stream."""
        if self._server is not None:
            await self._server.stop(None)

    async def _attach(self, _: Any, context: Any) -> None:
        session = HostSession(self._roster, self._outbound, self._on_load)
        self._sessions.add(session)
        try:
            reason = await run_stream(session.peer, context)
        finally:
            self._sessions.discard(session)
        log.info("a host left", extra={"reason": reason})

    async def _answer_drain(self, request: links_pb2.DrainRequest, _: Any) -> links_pb2.DrainResponse:
        return links_pb2.DrainResponse(in_flight=await self._drain(request.reason or "asked to drain"))


def _drain_service(answer: Callable[[links_pb2.DrainRequest, Any], Awaitable[links_pb2.DrainResponse]]) -> Any:
    _, service, method = names.DRAIN_METHOD.split("/")
    handler = grpc.unary_unary_rpc_method_handler(
        answer,
        request_deserializer=links_pb2.DrainRequest.FromString,
        response_serializer=links_pb2.DrainResponse.SerializeToString,
    )
    return grpc.method_handlers_generic_handler(service, {method: handler})
