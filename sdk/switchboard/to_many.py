"""One message to many: every agent that is subscribed to a topic, or every instance of an agent."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, Unpack

from switchboard.answers import Answer
from switchboard.content import decode
from switchboard.options import CallOptions, EveryInstance, Target, Topic
from switchboard_wire.agent_id import AgentId, parse_agent_id
from switchboard_wire.errors import ErrorValue, SwitchboardError
from switchboard_wire.v1 import frames_pb2 as pb


@dataclass(frozen=True, slots=True)
class Delivery:
    """What came of one copy. agent: who got it, with its key. instance: who answered, or was meant; may be empty.

    value: str for text, what JSON holds, otherwise bytes; None without an answer. error: None when it was handled.
    truncated: of a long answer value is the beginning, as bytes.
    """

    agent: AgentId
    instance: str = ""
    value: Any = None
    error: SwitchboardError | None = None
    truncated: bool = False

    @property
    def ok(self) -> bool:
        """Whether the receiver handled it."""
        return self.error is None


class Requests(Protocol):
    """What these need of a caller."""

    async def request(self, target: Target, payload: object = None, **options: Unpack[CallOptions]) -> Answer:
        """One message, one answer."""


class ToMany:
    """`publish` and `broadcast` for whoever has `request`."""

    __slots__ = ()

    async def publish(
        self: Requests, topic: str, payload: object = None, *, source: str = "", **options: Unpack[CallOptions]
    ) -> list[Delivery]:
        """Send a copy to every agent that is subscribed to a topic, but to the sender's own; what came of each.

        source: where the event comes from, for example a user: each subscriber gets its copy under this key. Returns
        when all have handled it, or failed; an empty list when nobody is subscribed. Raises a subclass of
        SwitchboardError when the message itself was refused, never for a receiver.
        """
        return read_deliveries(await self.request(Topic(topic, source), payload, **options))

    async def broadcast(
        self: Requests, agent: str | AgentId, payload: object = None, **options: Unpack[CallOptions]
    ) -> list[Delivery]:
        """Send a copy to every instance of an agent; what came of each. Raises as `publish` does, and AgentNotFound."""
        found = parse_agent_id(agent) if isinstance(agent, str) else agent
        return read_deliveries(await self.request(EveryInstance(found), payload, **options))


def read_deliveries(answer: Answer) -> list[Delivery]:
    """The gateway's answer to a message to many."""
    return [_delivery(entry) for entry in answer.value or ()]


def _delivery(entry: Mapping[str, Any]) -> Delivery:
    type_, _, key = entry["agent"].partition("/")
    error = entry.get("error")
    return Delivery(
        agent=AgentId(type_, key),
        instance=entry.get("instance", ""),
        value=_value(entry),
        error=None if error is None else _error(error),
        truncated=entry.get("truncated", False),
    )


def _value(entry: Mapping[str, Any]) -> Any:
    if "outputBase64" in entry:
        data = base64.b64decode(entry["outputBase64"])
        return data if entry.get("truncated") else decode(data, "")
    return entry.get("output")


def _error(told: Mapping[str, Any]) -> SwitchboardError:
    code = dict(pb.Code.items()).get(told["code"], pb.INTERNAL_ERROR)  # a newer gateway may know more
    delivered = pb.Delivered.Value(f"DELIVERED_{told['delivered']}")
    return SwitchboardError(ErrorValue(code, told["message"], told.get("retryAfterMs", 0), delivered))
