"""The client: one session with a gateway, over which every call of the process goes."""

import asyncio
import contextlib
import os
import secrets
from collections.abc import AsyncIterator
from typing import Any, Self, Unpack

from switchboard.caller import Caller
from switchboard.composition import Composition
from switchboard.connection import CONNECT_WAIT_S, Connection
from switchboard.credentials import AccessOptions, Credentials
from switchboard.listing import AgentFilter, InstanceFilter, Listings
from switchboard.options import CallOptions, Target, fill_open
from switchboard.to_many import ToMany
from switchboard_wire.deadlines import Deadlines
from switchboard_wire.errors import ErrorValue, close_with
from switchboard_wire.limits import PROTOCOL
from switchboard_wire.names import ENV_GATEWAY, GATEWAY_GRPC_PORT, SESSION_METHOD
from switchboard_wire.peer import Peer
from switchboard_wire.v1 import frames_pb2 as pb
from switchboard_wire.v1 import gateway_pb2 as api
from switchboard_wire.v1.instances_pb2 import InstanceList

# Serialized OPENs by target and options: a process calls few agents in few ways, or many keys once each
MAX_TEMPLATES = 1024
_PER_CALL = frozenset({"headers", "idempotency_key", "traceparent"})


class Client(Caller, Composition, ToMany):
    """Talks to agents through a gateway; usable while its context is open.

        async with Client() as client:
            answer = await client.request("summarizer", "a long text")

    address: host:port of the gateway's gRPC port; SWITCHBOARD_GATEWAY, or else localhost:7400, when left out.
    timeout_s: for calls that name none; the Agent's timeoutSeconds when left out. connect_timeout_s: how long a call
    waits for the session, which connects by itself, also again. access: token, token_file, ca_file and tls, for
    gateways that ask for tokens or speak TLS: see AccessOptions.
    """

    __slots__ = (
        "_connection",
        "_counter",
        "_credentials",
        "_listings",
        "_prefix",
        "_running",
        "_templates",
        "_timeout_s",
        "_wait_s",
        "address",
    )

    def __init__(
        self,
        address: str | None = None,
        *,
        timeout_s: float | None = None,
        connect_timeout_s: float = CONNECT_WAIT_S,
        **access: Unpack[AccessOptions],
    ) -> None:
        self._wait_s = connect_timeout_s
        self._credentials = Credentials.resolve(access)
        self.address = address or os.environ.get(ENV_GATEWAY) or f"localhost:{GATEWAY_GRPC_PORT}"
        self._listings = Listings(self.address, connect_timeout_s, self._credentials)
        self._timeout_s = timeout_s
        self._prefix = f"{secrets.token_hex(8)}-"
        self._counter = 0
        self._templates: dict[Any, bytes] = {}
        self._running: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._connection = Connection(
            self.address,
            SESSION_METHOD,
            _SessionEvents(),
            _greeting,
            wait_s=self._wait_s,
            credentials=self._credentials,
        )
        super().__init__(self._connection, Deadlines())
        self._running = asyncio.create_task(self._connection.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._running is not None:
            self._running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._running

    async def agents(self, **wanted: Unpack[AgentFilter]) -> list[api.AgentSummary]:
        """The agents that the gateway knows, by filter. Raises NodeUnavailable."""
        return await self._listings.find(wanted)

    async def describe(self, type: str, *, namespace: str = "") -> api.AgentTypeDescription:
        """The Agents of one type and their instances: states, circuits, latencies, calls in flight, weights.

        The numbers are those of the one replica that answers. Raises AgentNotFound, NodeUnavailable.
        """
        return await self._listings.describe(type, namespace)

    async def instances(self, **wanted: Unpack[InstanceFilter]) -> InstanceList:
        """The instances of all pools with their load, as the operator's registry has them now; narrowed by filter.

        Raises NodeUnavailable, also when no operator is connected to the gateway.
        """
        return await self._listings.instances(wanted)

    def watch_agents(self, **wanted: Unpack[AgentFilter]) -> AsyncIterator[list[api.AgentSummary]]:
        """The agents that the gateway knows, by filter: the list now, and anew whenever it has changed.

        Who is slow gets the newest list, not every one. Raises NodeUnavailable when the gateway is not there at first.
        """
        return self._listings.watch(wanted)

    def _new_frame(self, target: Target, content_type: str, options: CallOptions) -> pb.Frame:
        if self._timeout_s is not None and "timeout_s" not in options:
            options["timeout_s"] = self._timeout_s
        # Parsing a template takes a fifth of the time of building the nested messages
        shape = (target, content_type, *options.items()) if options else (target, content_type)
        if options and not _PER_CALL.isdisjoint(options):
            template = _template(target, content_type, options)
        else:
            template = self._templates.get(shape) or self._remember(shape, target, content_type, options)
        frame = pb.Frame.FromString(template)
        self._counter = number = self._counter + 1
        frame.open.message_id = f"{self._prefix}{number}"
        return frame

    def _remember(self, shape: Any, target: Target, content_type: str, options: CallOptions) -> bytes:
        if len(self._templates) >= MAX_TEMPLATES:
            self._templates.clear()
        template = self._templates[shape] = _template(target, content_type, options)
        return template


def _template(target: Target, content_type: str, options: CallOptions) -> bytes:
    frame = pb.Frame(kind=pb.OPEN, end=True, content_type=content_type)
    fill_open(frame.open, target, options)
    return frame.SerializeToString()


def _greeting() -> list[pb.Frame]:
    return [pb.Frame(kind=pb.HELLO, hello=pb.Hello(protocol_min=PROTOCOL, protocol_max=PROTOCOL))]


class _SessionEvents:
    """A client hosts nothing."""

    def on_open(self, peer: Peer, frame: pb.Frame) -> None:
        peer.send(close_with(frame.call, ErrorValue(pb.AGENT_NOT_FOUND, "this client hosts no agents")))

    def on_control(self, peer: Peer, frame: pb.Frame) -> None:
        pass

    def on_lost(self, peer: Peer) -> None:
        pass
