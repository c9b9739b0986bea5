"""What a handler is told about the message that it has, and its way to call others."""

import asyncio
import logging
from collections.abc import Mapping, MutableMapping
from typing import Any

from switchboard.caller import Caller, Uplink
from switchboard.composition import Composition
from switchboard.options import CallOptions, Target, deadline_ms, fill_open
from switchboard.sync_caller import SyncCaller
from switchboard.to_many import ToMany
from switchboard_wire.agent_id import AgentId
from switchboard_wire.deadlines import Deadlines
from switchboard_wire.v1 import frames_pb2 as pb


class Surroundings:
    """What all messages of one agent in one process share."""

    __slots__ = ("config", "deadlines", "log", "loop", "name", "type", "uplink")

    def __init__(self, uplink: Uplink, deadlines: Deadlines, name: str, type_: str, config: Mapping[str, Any]) -> None:
        self.uplink = uplink
        self.deadlines = deadlines
        self.loop = asyncio.get_running_loop()
        self.name = name
        self.type = type_
        self.config = config
        self.log = logging.getLogger(f"agent.{name}")


class Context(Caller, Composition, ToMany):
    """The message at hand. `request`, `send`, `stream`, `gather`, `pipeline`, `publish` and `broadcast` call other
    agents from here: such calls keep this message's conversation and deadline, and carry the chain of calls that wait.

    state: a dict for this agent and the message's key. It is a cache: lost when the key moves to another instance.
    config: what the Agent resource gives the handler.
    """

    __slots__ = ("_around", "_calls", "_ends", "_open", "cancelled", "state")

    def __init__(self, around: Surroundings, opened: pb.Open, state: MutableMapping[str, Any]) -> None:
        self._uplink = around.uplink
        self._deadlines = around.deadlines
        self._around = around
        self._open = opened
        self._calls = 0
        self._ends = around.loop.time() + opened.deadline_ms / 1000 if opened.deadline_ms else None
        self.state = state
        self.cancelled = False  # the caller gave up: a handler in a thread looks here, others get CancelledError

    def keep(self, opened: pb.Open) -> None:
        """Go on with a copy of what was received, whose memory is a whole batch's."""
        self._open = opened

    @property
    def message_id(self) -> str:
        return self._open.message_id

    @property
    def conversation_id(self) -> str:
        """Groups the messages of one conversation; the first message's id when the caller named none."""
        return self._open.conversation_id or self._open.message_id

    @property
    def agent(self) -> AgentId:
        """Who this handler is, with the key of the message."""
        return AgentId(self._around.type, self._open.target.key)

    @property
    def key(self) -> str:
        return self._open.target.key

    @property
    def method(self) -> str:
        return self._open.method

    @property
    def sender(self) -> AgentId | None:
        """The agent that sent the message; None when a client did."""
        source = self._open.source
        return AgentId(source.type, source.key) if source.type else None

    @property
    def principal(self) -> str:
        """Who called, as the gateway has checked it; empty where nobody proves who he is.

        A pod or another ServiceAccount: spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/NAME; anybody else: user:NAME. Of a
        message of another agent it is that agent's pod, not the client that had asked that agent.
        """
        return self._open.principal

    @property
    def headers(self) -> Mapping[str, str]:
        return self._open.headers

    @property
    def attempt(self) -> int:
        """0 for the first delivery of the message."""
        return self._open.attempt

    @property
    def remaining_s(self) -> float | None:
        """Seconds until the deadline; None when there is none."""
        return None if self._ends is None else max(0.0, self._ends - self._around.loop.time())

    @property
    def config(self) -> Mapping[str, Any]:
        return self._around.config

    @property
    def log(self) -> "logging.LoggerAdapter[logging.Logger]":
        """A logger that names the message."""
        return logging.LoggerAdapter(self._around.log, {"message_id": self._open.message_id})

    @property
    def sync(self) -> SyncCaller:
        """The same calls for handlers that run in a thread: `ctx.sync.request(…)`."""
        return SyncCaller(self, self._around.loop)

    def _new_frame(self, target: Target, content_type: str, options: CallOptions) -> pb.Frame:
        frame = pb.Frame(kind=pb.OPEN, end=True, content_type=content_type)
        opened, cause = frame.open, self._open
        me = str(self.agent)
        opened.conversation_id = self.conversation_id
        opened.causation_id = cause.message_id
        opened.hops = cause.hops
        opened.chain.extend([*cause.chain, me])
        opened.traceparent = cause.traceparent
        opened.tracestate = cause.tracestate
        opened.tenant = cause.tenant
        opened.priority = cause.priority
        opened.source.type, opened.source.key = self._around.type, cause.target.key
        self._calls += 1
        opened.message_id = f"{cause.message_id}.{self._calls}"
        remaining_s = self.remaining_s
        if remaining_s is not None:
            options["timeout_s"] = max(0.001, min(options.get("timeout_s", remaining_s), remaining_s))
            opened.deadline_ms = deadline_ms(options["timeout_s"])
        fill_open(opened, target, options)
        return frame
