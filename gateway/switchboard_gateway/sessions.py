"""Clients' sessions: gRPC streams, which move to a plain socket where the client can reach one.

A gRPC message costs a Python process some 100 µs whatever it carries. So the gateway greets a session with the address
of its own socket and a ticket; a client that can reach it goes on there, one that cannot stays. The ticket is worth one
connection to this very process, so nobody ends at another gateway, or in without having passed the gRPC port.
"""

import asyncio
import logging
import secrets
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from switchboard_gateway.access.entrance import Entrance
from switchboard_gateway.access.guard import Guard
from switchboard_gateway.age import Age
from switchboard_gateway.core import Core
from switchboard_gateway.public_answers import abort, token_of
from switchboard_gateway.session_events import Session
from switchboard_wire.errors import SwitchboardError
from switchboard_wire.limits import PROTOCOL
from switchboard_wire.listening import serve_tcp
from switchboard_wire.names import SESSION_SERVICE
from switchboard_wire.peer import Peer, PeerEvents
from switchboard_wire.sockets import SocketPeer, run_socket
from switchboard_wire.streams import run_stream
from switchboard_wire.v1 import frames_pb2 as pb

log = logging.getLogger("switchboard.gateway.sessions")

# A client takes it up at once, or is not able to
TICKET_S: Final = 30.0
# Of clients that never came; the oldest give way
MAX_TICKETS: Final = 10_000


@dataclass(frozen=True, slots=True)
class Taken:
    """What a ticket was given for. entrance: of the client that showed its token on gRPC; None: none is asked for."""

    entrance: Entrance | None


class Tickets:
    """Tickets that were given and not used yet. clock: seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._given: dict[str, tuple[float, Entrance | None]] = {}

    def give(self, entrance: Entrance | None = None) -> str:
        """A new ticket, good for one use within TICKET_S. entrance: of the client that has proved who it is."""
        if len(self._given) >= MAX_TICKETS:
            del self._given[next(iter(self._given))]
        ticket = secrets.token_hex(16)
        self._given[ticket] = self._clock() + TICKET_S, entrance
        return ticket

    def take(self, ticket: str) -> Taken | None:
        """Use a ticket up; None when it was never given, was used, or is too old."""
        until, entrance = self._given.pop(ticket, (float("-inf"), None))
        return Taken(entrance) if self._clock() <= until else None


class Sessions:
    """Takes sessions. address: where clients find the socket; empty: nowhere, so they stay on gRPC.

    guard: knows clients by their tokens; None: none is asked for.
    """

    def __init__(self, core: Core, age: Age | None = None, guard: Guard | None = None) -> None:
        self._core = core
        self._guard = guard
        self._age = age or Age()
        self._ageing: dict[Peer, asyncio.TimerHandle] = {}
        self._tickets = Tickets(core.now)
        self._tasks: set[asyncio.Task[None]] = set()
        self.address = ""

    async def over_grpc(self, _: Any, context: Any) -> None:
        """Handler of Gateway.Session."""
        try:
            entrance = await self._admit(context)
        except SwitchboardError as error:
            self._core.metrics.count_refusal("session", error.error.code)
            await abort(context, error.error)
        peer = Peer(self._events(entrance), dialled=False, label=context.peer())
        hello = pb.Hello(protocol_min=PROTOCOL, protocol_max=PROTOCOL)
        if self.address:
            hello.socket, hello.ticket = self.address, self._tickets.give(entrance)
        peer.send(pb.Frame(kind=pb.HELLO, hello=hello))
        self._came(peer)
        try:
            await run_stream(peer, context)
        finally:
            self._went(peer)

    @asynccontextmanager
    async def serve(
        self, host: str, port: int, reached_at: str, tls: ssl.SSLContext | None = None
    ) -> AsyncIterator[int]:
        """Take sessions on a socket while open; yields its port. reached_at: the IP address that clients are told."""
        try:
            async with serve_tcp(host, port, self._accept, tls) as bound:
                if reached_at:
                    shown = f"[{reached_at}]" if ":" in reached_at else reached_at
                    self.address = f"{shown}:{bound}"
                yield bound
        finally:
            self.address = ""
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, service: str, peer: SocketPeer) -> PeerEvents | None:
        name, _, ticket = service.partition("/")
        taken = self._tickets.take(ticket) if name == SESSION_SERVICE else None
        if taken is None:
            return None
        peer.label = peer.remote
        peer.send(pb.Frame(kind=pb.HELLO, hello=pb.Hello(protocol_min=PROTOCOL, protocol_max=PROTOCOL)))
        task = asyncio.ensure_future(self._run(peer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return self._events(taken.entrance.again() if taken.entrance is not None else None)

    async def _run(self, peer: SocketPeer) -> None:
        self._came(peer)
        try:
            reason = await run_socket(peer)
        finally:
            self._went(peer)
        log.debug("session ended", extra={"from": peer.label, "reason": reason})

    async def _admit(self, context: Any) -> Entrance | None:
        """The client that opens a session. Raises SwitchboardError."""
        if self._guard is None:
            return None
        token = token_of(context)
        return Entrance(self._core, self._guard, await self._guard.enter(token), token)

    def _events(self, entrance: Entrance | None) -> Session:
        return Session(self._core, self._core.namespace, entrance)

    def _came(self, peer: Peer) -> None:
        events = peer.events
        if isinstance(events, Session):
            events.watch(peer)
        self._core.sessions.add(peer)
        self._count()
        if self._age.seconds:
            self._later(peer, self._age.draw(self._core.rng), self._is_old)

    def _went(self, peer: Peer) -> None:
        self._core.sessions.discard(peer)
        self._count()
        timer = self._ageing.pop(peer, None)
        if timer is not None:
            timer.cancel()

    def _later(self, peer: Peer, delay_s: float, act: Callable[[Peer], None]) -> None:
        self._ageing[peer] = asyncio.get_running_loop().call_later(delay_s, act, peer)

    def _is_old(self, peer: Peer) -> None:
        """Its client opens the next calls on a new session, at whichever replica; these end here."""
        peer.send(pb.Frame(kind=pb.GOAWAY, goaway=pb.Goaway(reason="the session is old: begin anew")))
        self._later(peer, self._age.grace_s, self._is_too_old)

    def _is_too_old(self, peer: Peer) -> None:
        if isinstance(peer, SocketPeer):  # grpc closes its connections itself
            peer.end("the session was too old")

    def _count(self) -> None:
        self._core.metrics.sessions.set((), len(self._core.sessions))
