"""One message to many: every agent that is subscribed to a topic, or every instance of a type.

Each receiver gets a copy, as a call of its own with all that a call has; what came of each goes back in one answer.
"""

import asyncio
import base64
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from switchboard.answers import join_pieces
from switchboard_gateway.instances import Instance, Route, Table
from switchboard_gateway.routed_call import RoutedCall
from switchboard_gateway.selection import (
    Allowed,
    Selected,
    admitting,
    check_caller,
    check_open,
    named_strategy,
    share,
    unknown_type,
)
from switchboard_routing.balance import Rng
from switchboard_wire.calls import IncomingCall, OutgoingCall, Payload, new_open
from switchboard_wire.errors import ErrorValue, SwitchboardError, failure, name_of
from switchboard_wire.limits import MAX_DATA_BYTES
from switchboard_wire.peer import Peer, local_pair
from switchboard_wire.v1 import frames_pb2 as pb

if TYPE_CHECKING:
    from switchboard_gateway.core import Core

# Copies of one message that are under way at once; the others follow as these end
PARALLEL: Final = 32
# Messages that are being copied, and what of them is kept meanwhile
MAX_MESSAGES: Final = 10_000
MAX_BYTES: Final = 64 * 1024 * 1024
# A message that names no deadline is complete by then; and so long may its sender take to read the common answer
PATIENCE_S: Final = 60.0
_INCOMPLETE: Final = ErrorValue(pb.DEADLINE_EXCEEDED, "the message was not complete in time")
_UNREAD: Final = ErrorValue(
    pb.DEADLINE_EXCEEDED, "the sender did not read the answer in time", delivered=pb.DELIVERED_YES
)
# What one receiver may say in the common answer; of more, only that there was more
MAX_OUTPUT_BYTES: Final = 64 * 1024

_DELIVERED: Final[dict[int, str]] = {pb.DELIVERED_NO: "NO", pb.DELIVERED_MAYBE: "MAYBE", pb.DELIVERED_YES: "YES"}


@dataclass(frozen=True, slots=True)
class Receiver:
    """One that gets a copy. instance: it alone; None: whichever the Agent's policy chooses."""

    route: Route
    key: str
    instance: Instance | None = None

    @property
    def agent_id(self) -> str:
        type_ = self.route.policy.type
        return f"{type_}/{self.key}" if self.key else type_


def find_subscribers(table: Table, opened: pb.Open, namespace: str, rng: Rng) -> list[Receiver]:
    """Who is subscribed to the topic: one per type, of several versions one by weight; never the sender's own type."""
    target, source = opened.target, opened.source
    place = target.namespace or namespace
    by_type: dict[str, list[Route]] = {}
    for policy in table.declared.subscribers(place, target.topic):
        if (source.namespace, source.type) != (place, policy.type):
            by_type.setdefault(policy.type, []).append(table.routes[place, policy.name])
    found = [share(admitting(routes, opened), rng) for _, routes in sorted(by_type.items())]
    return [Receiver(route, target.topic_source) for route in found]


def find_instances(table: Table, opened: pb.Open, namespace: str) -> list[Receiver]:
    """Every instance of the type. Raises SwitchboardError when no Agent has the type."""
    target = opened.target
    place = target.namespace or namespace
    routes = table.by_type.get((place, target.type))
    if not routes:
        raise unknown_type(table, place, target.type)
    return [Receiver(route, target.key, instance) for route in routes for instance in route.instances]


class FanOut:
    """Copies messages to their receivers. One per core."""

    def __init__(self, core: "Core") -> None:
        self._core = core
        self._tasks: set[asyncio.Task[None]] = set()
        self._bytes = 0
        self._chosen: dict[int, Selected] = {}
        self._near, _ = local_pair(self, _Copies(core, self._chosen), "fan-out")

    def open_call(self, peer: Peer, frame: pb.Frame, namespace: str, allowed: Allowed = None) -> None:
        """Take a call whose target is a topic or all instances of a type. Raises SwitchboardError.

        allowed: who gets a copy; of each other the answer says that the caller may not.
        """
        opened, table = frame.open, self._core.table
        check_open(opened, opened.target.topic_source if opened.target.topic else opened.target.key)
        if opened.strategy:
            named_strategy(opened.strategy)
        if len(self._tasks) >= MAX_MESSAGES:
            raise failure(pb.OVERLOADED, f"{MAX_MESSAGES} messages are being copied already", retry_after_ms=100)
        if opened.target.topic:
            receivers = find_subscribers(table, opened, namespace, self._core.rng)
        else:
            receivers = find_instances(table, opened, namespace)

        def cancel() -> None:
            task.cancel()

        call = IncomingCall(peer, frame, cancel)
        self._core.call_began()
        task = asyncio.create_task(self._serve(call, receivers, allowed))
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        self._core.call_ended()

    async def _serve(self, call: IncomingCall, receivers: list[Receiver], allowed: Allowed) -> None:
        now = self._core.now
        wanted_ms = call.first.open.deadline_ms
        deadline = now() + wanted_ms / 1000 if wanted_ms else None
        kept, late = 0, _INCOMPLETE
        try:
            parts: list[bytes] = []
            async with asyncio.timeout_at(deadline if deadline is not None else now() + PATIENCE_S):
                async for piece in call.pieces():
                    kept += len(piece)
                    self._bytes += len(piece)
                    self._check_size(kept, receivers)
                    parts.append(piece)
            copier = _Copier(self._core, self._near, self._chosen, deadline, allowed)
            entries = await copier.send(call.first, b"".join(parts), receivers)
            self._bytes -= kept
            kept, late = 0, _UNREAD
            async with asyncio.timeout(PATIENCE_S):
                await call.close(Payload(json.dumps(entries).encode(), "application/json"))
        except SwitchboardError as error:
            call.fail(error.error)
        except TimeoutError:
            call.fail(late)
        finally:
            self._bytes -= kept
            call.fail(ErrorValue(pb.INTERNAL_ERROR, "copying the message failed", delivered=pb.DELIVERED_MAYBE))

    def _check_size(self, size: int, receivers: list[Receiver]) -> None:
        limit = max((receiver.route.policy.max_payload_bytes for receiver in receivers), default=MAX_BYTES)
        if size > limit:
            raise failure(pb.PAYLOAD_TOO_LARGE, f"the payload is over {limit} bytes, more than any receiver takes")
        if self._bytes > MAX_BYTES:
            raise failure(pb.OVERLOADED, "too many messages are being copied already", retry_after_ms=100)

    # The near end of the pair: nobody calls it

    def on_open(self, peer: Peer, frame: pb.Frame) -> None:
        raise AssertionError("a gateway hosts no agents")

    def on_control(self, peer: Peer, frame: pb.Frame) -> None:
        pass

    def on_lost(self, peer: Peer) -> None:
        pass


class _Copies:
    """The core's end of the pair: a copy knows its receiver already."""

    def __init__(self, core: "Core", chosen: dict[int, Selected]) -> None:
        self._core = core
        self._chosen = chosen

    def on_open(self, peer: Peer, frame: pb.Frame) -> None:
        RoutedCall(self._core, peer, frame, self._chosen.pop(frame.call)).start()

    def on_control(self, peer: Peer, frame: pb.Frame) -> None:
        pass

    def on_lost(self, peer: Peer) -> None:
        pass


class _Copier:
    """Sends one message to its receivers, some at a time. deadline: of the whole, on the core's clock."""

    def __init__(
        self, core: "Core", peer: Peer, chosen: dict[int, Selected], deadline: float | None, allowed: Allowed
    ) -> None:
        self._core = core
        self._peer = peer
        self._chosen = chosen
        self._deadline = deadline
        self._allowed = allowed
        self._turn = asyncio.Semaphore(PARALLEL)

    async def send(self, first: pb.Frame, data: bytes, receivers: list[Receiver]) -> list[dict[str, Any]]:
        """What came of each, in the order of the receivers. Cancelled, it cancels every copy."""
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._send_one(first, data, receiver)) for receiver in receivers]
        return [task.result() for task in tasks]

    async def _send_one(self, first: pb.Frame, data: bytes, receiver: Receiver) -> dict[str, Any]:
        entry: dict[str, Any] = {"agent": receiver.agent_id}
        if receiver.instance is not None:
            entry["instance"] = receiver.instance.name
        async with self._turn:
            try:
                return entry | await self._ask(first, data, receiver)
            except SwitchboardError as error:
                self._core.metrics.count_refusal("policy", error.error.code)
                return entry | {"ok": False, "error": describe_error(error.error)}

    async def _ask(self, first: pb.Frame, data: bytes, receiver: Receiver) -> dict[str, Any]:
        policy = receiver.route.policy
        if self._allowed is not None and (policy.namespace, policy.name) not in self._allowed:
            raise failure(pb.PERMISSION_DENIED, f"the caller may not invoke Agent {policy.name!r}")
        check_caller(policy, first.open)
        if len(data) > policy.max_payload_bytes:
            raise failure(pb.PAYLOAD_TOO_LARGE, f"the payload is over {policy.max_payload_bytes} bytes")
        opened = self._copy(first.open, receiver)
        strategy = named_strategy(opened.strategy) if opened.strategy else policy.strategy
        call = OutgoingCall(self._peer, new_open(opened, Payload(data, first.content_type, first.data_type), end=True))
        self._chosen[call.number] = Selected(receiver.route, receiver.key, strategy, receiver.instance)
        try:
            if len(data) > MAX_DATA_BYTES:
                await call.send(data[MAX_DATA_BYTES:], end=True)
            pieces: list[pb.Frame] = []
            size = 0
            async for piece in call.pieces():
                if piece.data and size <= MAX_OUTPUT_BYTES:
                    pieces.append(piece)
                size += len(piece.data)
            close = await call.closed
        finally:
            call.cancel()
        if pieces:
            close = join_pieces(pieces, close)
        size = max(size, len(close.data))
        entry = {"ok": True, "instance": close.instance}
        if opened.reply != pb.REPLY_NONE and size:
            output = close.data[:MAX_OUTPUT_BYTES]
            entry |= describe_output(output, close.content_type, complete=size <= MAX_OUTPUT_BYTES)
        return entry

    def _copy(self, opened: pb.Open, receiver: Receiver) -> pb.Open:
        copy = pb.Open()
        copy.CopyFrom(opened)
        policy = receiver.route.policy
        copy.target.namespace, copy.target.type, copy.target.key = policy.namespace, policy.type, receiver.key
        if self._deadline is not None:
            remaining = self._deadline - self._core.now()
            if remaining <= 0:
                raise failure(pb.DEADLINE_EXCEEDED, "the deadline passed before this receiver's turn")
            copy.deadline_ms = max(1, int(remaining * 1000))
        return copy


def describe_output(data: bytes, content_type: str, *, complete: bool) -> dict[str, Any]:
    """One receiver's result: JSON as it is, text as text, other bytes in base64."""
    if not complete:
        return {"truncated": True, "outputBase64": base64.b64encode(data).decode()}
    try:
        text = data.decode()
        return {"output": json.loads(text) if content_type.partition(";")[0].endswith("json") else text}
    except ValueError:  # neither UTF-8 nor, by its type, JSON
        return {"outputBase64": base64.b64encode(data).decode(), "contentType": content_type}


def describe_error(error: ErrorValue) -> dict[str, Any]:
    """One receiver's failure, in the words of the error table."""
    found: dict[str, Any] = {"code": name_of(error.code), "message": error.message}
    if error.retry_after_ms:
        found["retryAfterMs"] = error.retry_after_ms
    found["delivered"] = _DELIVERED.get(error.delivered, "MAYBE")
    return found
