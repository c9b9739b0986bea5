"""One stream to one address, dialled again for as long as it is wanted."""

import asyncio
import functools
import logging
import random
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, cast

from grpc import aio

from switchboard.credentials import NOTHING, Credentials
from switchboard.diagnosis import explain
from switchboard.refusals import error_of
from switchboard_wire.errors import PermissionDenied, SwitchboardError, Unauthenticated, failure
from switchboard_wire.keeping_alive import LoadReport
from switchboard_wire.names import SESSION_SERVICE
from switchboard_wire.peer import Peer, PeerEvents, ProtocolError
from switchboard_wire.sockets import PREFACE_WAIT_S, SocketPeer, dial_socket, dial_tcp, run_socket
from switchboard_wire.streams import run_stream
from switchboard_wire.v1 import frames_pb2 as pb

log = logging.getLogger("switchboard.connection")

# The first retry comes soon, because a restart is the usual reason; the last ones seldom, for the other end's sake
FIRST_BACKOFF_S = 0.05
MAX_BACKOFF_S = 2.0
# How often a stream that another has replaced is looked at: its last call may take minutes
LINGER_S = 0.5
# A call waits so long for a stream, within its own time: a gateway that restarts is back sooner
CONNECT_WAIT_S = 10.0
# A gateway greets at once; what answers HTTP/2 and says nothing is none
GREETING_WAIT_S = 5.0
# kubelet renews a projected token minutes before it expires
TOKEN_POLL_S = 30.0

UNIX = "unix:"
Greeting = Callable[[], list[pb.Frame]]
Running = Callable[[], Coroutine[Any, Any, str]]  # pumps a stream to its end, which it explains


class Connection:
    """Keeps a stream to `address` while `run` runs, with full-jitter back-off between tries.

    address: host:port of a gRPC server with the method, or unix:PATH of a sidecar's socket with the service.
    peer: the living end of it, or None. greeting: the frames with which each new stream begins. wait_s: how long `wait`
    waits at most. load: what our pings tell. credentials: for a gRPC server. When the other end says GOAWAY, new calls
    move to another stream as soon as there is one; those that are under way end on theirs. A gRPC server may offer a
    plain socket in its HELLO: the stream moves there when it can be reached.
    """

    def __init__(
        self,
        address: str,
        method: str,
        events: PeerEvents,
        greeting: Greeting,
        *,
        wait_s: float = CONNECT_WAIT_S,
        load: LoadReport | None = None,
        credentials: Credentials = NOTHING,
    ) -> None:
        self.address = address
        self.peer: Peer | None = None
        self._method = method
        self._events = events
        self._greeting = greeting
        self._wait_s = wait_s
        self._load = load
        self._credentials = credentials
        self._refusal: SwitchboardError | None = None  # the gateway does not know who we are
        self._has_connected = False
        self._connected = asyncio.Event()
        self._must_dial = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._newcomer: tuple[Peer, asyncio.Event] | None = None  # a stream that no call goes over yet
        self._reason = "no answer yet"

    # Events of the stream

    def on_open(self, peer: Peer, frame: pb.Frame) -> None:
        self._events.on_open(peer, frame)

    def on_control(self, peer: Peer, frame: pb.Frame) -> None:
        if frame.kind == pb.HELLO:
            self._greeted(peer, frame.hello)
        elif frame.kind == pb.GOAWAY and peer is self.peer:
            log.info("the other end goes away", extra={"address": self.address, "reason": frame.goaway.reason[:200]})
            self._must_dial.set()
        self._events.on_control(peer, frame)

    def on_lost(self, peer: Peer) -> None:
        if peer is self.peer:
            self.peer = None
            self._connected.clear()
            self._must_dial.set()
        self._events.on_lost(peer)

    # Work

    async def run(self) -> None:
        """Dial, pump, dial again, until cancelled."""
        backoff_s = FIRST_BACKOFF_S
        if self._credentials.token_path is not None:
            self._start(self._renew_token())
        try:
            while True:
                backoff_s = FIRST_BACKOFF_S if await self._dial() else min(2 * backoff_s, MAX_BACKOFF_S)
                if self.peer is not None:
                    await self._must_dial.wait()
                await asyncio.sleep(random.random() * backoff_s)
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _dial(self) -> bool:
        """Begin a stream; False when the other end cannot be reached."""
        begin = self._begin_socket if self.address.startswith(UNIX) else self._begin_grpc
        begun = await begin()
        if begun is None:
            return False
        self._take(*begun)
        return True

    def _take(self, peer: Peer, running: Running) -> None:
        """New calls go over this stream from now on."""
        self.peer = peer
        self._refusal = None
        self._has_connected = True
        peer.bound = None  # an application that sends much at once keeps it in its own memory
        for frame in self._greeting():
            peer.send(frame)
        self._must_dial.clear()
        self._connected.set()
        self._start(self._pump(peer, running))

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _greeted(self, peer: Peer, hello: pb.Hello) -> None:
        if hello.socket and peer is self.peer:
            self._start(self._move(peer, hello.socket, hello.ticket))
        elif self._newcomer is not None and peer is self._newcomer[0]:
            self._newcomer[1].set()

    async def _move(self, old: Peer, address: str, ticket: str) -> None:
        """Go on, on a plain socket of the same gateway, if it can be reached; otherwise stay."""
        peer, welcome = SocketPeer(self, dialled=True, label=self.address), asyncio.Event()
        self._newcomer = peer, welcome
        try:
            tls = self._credentials.dial_tls(self.address)
            await dial_tcp(address, f"{SESSION_SERVICE}/{ticket}", peer, tls)
            async with asyncio.timeout(PREFACE_WAIT_S):
                await welcome.wait()
            if old is self.peer and not peer.lost:
                self._take(peer, functools.partial(run_socket, peer, self._load))
                old.send(pb.Frame(kind=pb.GOAWAY, goaway=pb.Goaway(reason="the session goes on, on a socket")))
        except OSError as error:
            log.debug("the session stays on gRPC", extra={"address": address, "reason": str(error)})
        finally:
            self._newcomer = None
            if peer is not self.peer:
                peer.end("not needed")

    async def _begin_socket(self) -> tuple[Peer, Running] | None:
        try:
            peer = await dial_socket(Path(self.address.removeprefix(UNIX)), self._method, self, self.address)
        except OSError as error:
            self._reason = str(error)
            return None
        return peer, functools.partial(run_socket, peer, self._load)

    async def _begin_grpc(self) -> tuple[Peer, Running] | None:
        """A stream on which the gateway has greeted us: one that refuses us says so instead."""
        try:
            metadata = self._credentials.metadata(self.address)
            # A channel of its own: grpc would keep its back-off of seconds from one try to the next
            channel = self._credentials.open_channel(self.address)
        except OSError as error:
            self._reason = str(error)
            return None
        stream: Any = cast(Any, channel).stream_stream(self._method)(metadata=metadata)
        try:
            await stream.wait_for_connection()
            async with asyncio.timeout(GREETING_WAIT_S):
                greeting = await stream.read()
        except BaseException as error:
            await channel.close(None)
            if not isinstance(error, (aio.AioRpcError, TimeoutError)):
                raise
            await self._failed(error)
            return None
        peer = Peer(self, dialled=True, label=self.address)
        return peer, functools.partial(_run_grpc, peer, channel, stream, greeting)

    async def _failed(self, error: "aio.AioRpcError | TimeoutError") -> None:
        """Keep why nothing came of a try, for those who wait."""
        told = error_of(error) if isinstance(error, aio.AioRpcError) else None
        if told is not None and isinstance(told, Unauthenticated | PermissionDenied):
            if self._refusal is None:
                log.warning("the gateway refuses", extra={"address": self.address, "reason": told.message})
            self._refusal = told
            self._connected.set()
        elif isinstance(error, aio.AioRpcError):
            reason = told.message if told is not None else str(error.details())
            if told is None and not self._has_connected:
                # Until this is known the one before it stays: who gives up meanwhile is told more by that
                reason = await explain(self.address, self._credentials, reason)
            self._reason = reason
        else:
            self._reason = f"no greeting within {GREETING_WAIT_S:g} s"

    async def _renew_token(self) -> None:
        """Show a fresh token as soon as the file has one, before the gateway asks for it."""
        shown = ""
        while True:
            try:
                token = self._credentials.token()
            except OSError as error:
                log.warning("no token", extra={"reason": str(error)})
            else:
                if shown and token != shown and self.peer is not None:
                    self.peer.send(pb.Frame(kind=pb.AUTH, auth=pb.Auth(token=token)))
                shown = token
            await asyncio.sleep(TOKEN_POLL_S)

    async def _pump(self, peer: Peer, running: Running) -> None:
        """Run one stream to its end: it breaks, or another has taken its place and its last call is over."""
        log.debug("connected", extra={"address": self.address})
        pumping = asyncio.create_task(running())
        try:
            while not pumping.done() and (peer is self.peer or peer.calls):
                await asyncio.wait({pumping}, timeout=LINGER_S)
        finally:
            pumping.cancel()
            ended = (await asyncio.gather(pumping, return_exceptions=True))[0]
        if isinstance(ended, str):
            self._reason = ended
        log.info("connection ended", extra={"address": self.address, "reason": self._reason})

    async def wait(self, timeout_s: float | None = None) -> Peer:
        """The living peer, as soon as there is one.

        Raises NodeUnavailable (delivered=NO); Unauthenticated or PermissionDenied when the gateway lets us not in.
        """
        try:
            async with asyncio.timeout(self._wait_s if timeout_s is None else min(timeout_s, self._wait_s)):
                while self.peer is None:
                    if self._refusal is not None:
                        raise SwitchboardError(self._refusal.error)
                    await self._connected.wait()
        except TimeoutError:
            message = f"{self.address} cannot be reached: {self._reason}"
            raise failure(pb.NODE_UNAVAILABLE, message, retry_after_ms=int(MAX_BACKOFF_S * 1000)) from None
        return self.peer


async def _run_grpc(peer: Peer, channel: aio.Channel, stream: Any, greeting: Any) -> str:
    async with channel:
        if isinstance(greeting, bytes):
            try:
                peer.receive(greeting)
            except ProtocolError as error:
                peer.lose(str(error))
                return str(error)
        return await run_stream(peer, stream)
