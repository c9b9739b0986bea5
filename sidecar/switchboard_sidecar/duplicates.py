"""Calls that come twice under one idempotency key: a duplicate joins the first, or gets the answer remembered.

Only answers of one frame without an error are remembered. A duplicate of a call that failed is handled anew; so is one
whose first answer streams, because what has passed is not kept.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from switchboard_sidecar.admission import waits_for_itself
from switchboard_sidecar.answers_seen import AnswersSeen, Scope, print_of, scope_of
from switchboard_sidecar.relay import Delivery, Relay
from switchboard_wire.errors import ErrorValue, close_with
from switchboard_wire.peer import Peer, copy_frame
from switchboard_wire.v1 import frames_pb2 as pb

if TYPE_CHECKING:
    from switchboard_sidecar.delivery import Deliverer
    from switchboard_sidecar.roster import Entry

# Duplicates that wait for another call's answer, in all: they hold no place in the queue
MAX_JOINED: Final = 1000
MAX_JOINED_BYTES: Final = 8 * 1024 * 1024
# When to come back once too many wait; the answers that they wait for are on their way
JOINED_RETRY_MS: Final = 1000


class Keyed(Delivery):
    """The first call under its key. joined: duplicates that get its answer."""

    __slots__ = ("complete", "joined", "print", "scope", "streams")

    def __init__(self, deliverer: "Deliverer", entry: "Entry", caller: Peer, first: pb.Frame) -> None:
        super().__init__(deliverer, entry, caller, first)
        self.scope: Scope = b""
        self.print = b""
        self.joined: list[Joined] = []
        self.complete = first.end
        self.streams = False

    def on_request(self, frame: pb.Frame) -> None:
        if frame.kind == pb.CANCEL and self._hand_over():
            return
        self.complete = self.complete or frame.end or frame.kind == pb.HALF_CLOSE
        super().on_request(frame)

    def _hand_over(self) -> bool:
        """The caller leaves, others wait: the handler goes on for the first of them."""
        # Of those on a stream that is lost each is about to be cancelled, too
        heir = next((joined for joined in self.joined if not joined.caller.lost), None)
        if heir is None or self.answerer is None or not self.complete:
            return False
        self.joined.remove(heir)
        self.caller.forget(self.number)
        self.caller, self.number = heir.caller, heir.number
        heir.leave()
        heir.caller.accept(heir.number, self.on_request)
        return True

    def on_answer(self, frame: pb.Frame) -> None:
        duplicates = self._deliverer.duplicates
        if frame.kind == pb.CLOSE and not self.over:
            duplicates.settle(self, frame)
        elif frame.kind == pb.DATA and not self.streams:
            self.streams = True
            duplicates.part(self)
        super().on_answer(frame)

    def ended(self, code: int) -> None:
        super().ended(code)
        self._deliverer.duplicates.part(self)

    def turned_away(self) -> None:
        self._deliverer.duplicates.part(self)


class Joined(Relay):
    """A duplicate that waits for the answer to the first call."""

    __slots__ = ("_duplicates", "first_call", "since", "size")

    def __init__(self, duplicates: "Duplicates", first_call: Keyed, caller: Peer, first: pb.Frame) -> None:
        super().__init__(caller, copy_frame(first))
        self._duplicates = duplicates
        self.first_call = first_call
        self.left = first_call.entry.max_bytes
        self.size = len(first.data)
        self.since = duplicates.now()

    def leave(self) -> None:
        """It waits no more."""
        self.over = True
        self.caller.forget(self.number)
        self._duplicates.joined -= 1
        self._duplicates.joined_bytes -= self.size

    def may_keep(self, size: int) -> bool:
        if self._duplicates.joined_bytes + size > MAX_JOINED_BYTES:
            return False
        self.size += size
        self._duplicates.joined_bytes += size
        return True

    def ended(self, code: int) -> None:
        self.first_call.joined.remove(self)
        self.leave()


class Duplicates:
    """Of one instance. joined, joined_bytes: duplicates that wait now, and what their first frames keep."""

    def __init__(self, deliverer: "Deliverer", now: Callable[[], float]) -> None:
        self.seen = AnswersSeen()
        self.running: dict[Scope, Keyed] = {}
        self.joined = 0
        self.joined_bytes = 0
        self.now = now
        self._deliverer = deliverer

    def take(self, peer: Peer, frame: pb.Frame, entry: "Entry") -> None:
        """A call with an idempotency key: answer it, join it to the one that runs, or deliver it."""
        scope, print_ = scope_of(frame.open, entry.name), print_of(frame)
        answer = self.seen.find(scope, self.now())
        first = self.running.get(scope)
        if (answer is not None and answer.print != print_) or (first is not None and first.print != print_):
            message = "the idempotency key was used with another payload: take a new key"
            self._refuse(peer, frame, entry, ErrorValue(pb.VALIDATION_FAILED, message))
        elif answer is not None:
            entry.duplicates["remembered"] += 1
            close = pb.Frame.FromString(answer.close)
            close.call = frame.call
            peer.send(close)
        elif first is not None and not waits_for_itself(frame.open.chain, self._deliverer.roster.lanes):
            self._join(peer, frame, first)
        else:
            delivery = self._deliverer.deliver(peer, frame, entry, Keyed)
            if isinstance(delivery, Keyed):
                delivery.scope, delivery.print = scope, print_
                self.running[scope] = delivery

    def _join(self, peer: Peer, frame: pb.Frame, first: Keyed) -> None:
        entry = first.entry
        if self.joined >= MAX_JOINED or self.joined_bytes + len(frame.data) > MAX_JOINED_BYTES:
            message = "too many duplicates wait for the answers to their first calls"
            self._refuse(peer, frame, entry, ErrorValue(pb.OVERLOADED, message, retry_after_ms=JOINED_RETRY_MS))
            return
        entry.duplicates["joined"] += 1
        if frame.open.ack and frame.end:
            peer.send(pb.Frame(kind=pb.CLOSE, call=frame.call))
            return
        joined = Joined(self, first, peer, frame)
        first.joined.append(joined)
        self.joined += 1
        self.joined_bytes += joined.size
        peer.accept(joined.number, joined.on_request)

    def settle(self, first: Keyed, close: pb.Frame) -> None:
        """The first call has its end: those that joined get the same, and it is remembered if it may be."""
        waiting, first.joined = first.joined, []
        for joined in waiting:
            joined.leave()
            copied = copy_frame(close)
            copied.call = joined.number
            joined.caller.send(copied)
        if not close.HasField("error") and not first.streams:
            self.seen.remember(first.scope, close, first.print, self.now())

    def part(self, first: Keyed) -> None:
        """Nobody gets the first call's answer but its caller: those that joined are handled by themselves."""
        if self.running.get(first.scope) is first:
            del self.running[first.scope]
        waiting, first.joined = first.joined, []
        for joined in waiting:
            joined.leave()
            if not joined.caller.lost:
                self._deliver_anew(joined)

    def _deliver_anew(self, joined: Joined) -> None:
        frame = joined.first
        assert frame is not None  # it was never connected
        open_ = frame.open
        if open_.deadline_ms:
            open_.deadline_ms = self._deliverer.left_ms(open_.deadline_ms, joined.since)
        self._deliverer.on_open(joined.caller, frame)
        for later in joined.ahead or ():
            handler = joined.caller.calls.get(joined.number)
            if handler is not None:
                handler(later)

    @staticmethod
    def _refuse(peer: Peer, frame: pb.Frame, entry: "Entry", error: ErrorValue) -> None:
        entry.codes[error.code] += 1
        peer.send(close_with(frame.call, error))
