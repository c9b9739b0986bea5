"""A call that passes through: frames change their number and go on, payloads are never looked at.

This is the hot path: two objects' worth of attribute reads per frame, no decoding, no awaiting. Credit passes from end
to end; a relay only keeps count, so that an end that ignores it cannot fill the memory in between.
"""

from typing import TYPE_CHECKING, Final

from switchboard_wire.credit import CreditLine
from switchboard_wire.errors import ErrorValue, close_with
from switchboard_wire.peer import Peer, copy_frame
from switchboard_wire.v1 import frames_pb2 as pb

if TYPE_CHECKING:
    from switchboard_sidecar.admission import Ticket
    from switchboard_sidecar.delivery import Deliverer
    from switchboard_sidecar.roster import Entry

# Module globals are read faster than attributes of the generated module
_DATA: Final = pb.DATA
_WINDOW: Final = pb.WINDOW
_HALF_CLOSE: Final = pb.HALF_CLOSE
_CLOSE: Final = pb.CLOSE
_CANCEL: Final = pb.CANCEL
# Frames that a call may send ahead while it waits for its turn; their bytes are bounded by the credit
MAX_AHEAD: Final = 1024
# When to come back after a refusal for bytes; what fills the bound is on its way
WAIT_RETRY_MS: Final = 1000
_UNBOUNDED: Final = 1 << 62


class Relay:
    """Joins call `number` of `caller` with call `far` of `answerer`, once that is known."""

    __slots__ = ("ahead", "answer_line", "answerer", "caller", "far", "first", "left", "number", "over", "request_line")

    def __init__(self, caller: Peer, first: pb.Frame) -> None:
        self.caller = caller
        self.number = first.call
        self.first: pb.Frame | None = first  # until it is sent: it keeps the memory of its whole batch
        self.answerer: Peer | None = None
        self.far = 0
        self.ahead: list[pb.Frame] | None = None  # what came while there was no answerer
        # A host that calls its own pod is both ends: when it is lost, both are told of the end
        self.over = False
        self.left = _UNBOUNDED  # bytes of DATA that the request may still carry
        self.request_line: CreditLine | None = None
        self.answer_line: CreditLine | None = None

    def connect(self, answerer: Peer) -> None:
        """Open the call at `answerer`, with everything that came so far."""
        first, self.first = self.first, None
        assert first is not None  # a relay connects once
        self.answerer = answerer
        self.far = far = answerer.open(first, self.on_answer)
        if self.ahead is not None:
            for frame in self.ahead:
                frame.call = far
                answerer.send(frame)
            self.ahead = None

    def on_request(self, frame: pb.Frame) -> None:
        """A further frame of the caller's."""
        kind = frame.kind
        if kind == _CANCEL:
            self.cancel()
            return
        if kind == _DATA:
            line = self.request_line
            if line is None:
                line = self.request_line = CreditLine()
            size = len(frame.data)
            self.left -= size
            if not line.spend(size):
                self.abort(ErrorValue(pb.VALIDATION_FAILED, "the caller sent more than its credit"))
                return
            if self.left < 0:
                self.abort(self.too_large())
                return
        elif kind == _WINDOW:
            if self.answer_line is None:
                self.answer_line = CreditLine()
            self.answer_line.grant(frame.credit)
        elif kind != _HALF_CLOSE:
            return
        answerer = self.answerer
        if answerer is None:
            self._keep(frame)
            return
        frame.call = self.far
        answerer.send(frame)

    def _keep(self, frame: pb.Frame) -> None:
        if self.ahead is None:
            self.ahead = []
        if len(self.ahead) >= MAX_AHEAD:
            self.abort(ErrorValue(pb.VALIDATION_FAILED, "too many frames before the call was answered"))
            return
        if not self.may_keep(len(frame.data)):
            self.abort(too_much_waits())
            return
        self.ahead.append(copy_frame(frame))

    def may_keep(self, size: int) -> bool:
        """Whether so many bytes more may be kept while there is no answerer."""
        return True

    def on_answer(self, frame: pb.Frame) -> None:
        """A frame of the answerer's."""
        kind = frame.kind
        if kind == _CLOSE:
            if self.over:
                return
            self.over = True
            frame.call = self.number
            caller = self.caller
            caller.calls.pop(self.number, None)
            self.answerer.calls.pop(self.far, None)  # type: ignore[union-attr]
            caller.send(frame)
            self.ended(frame.error.code if frame.HasField("error") else 0)
            return
        if kind == _DATA:
            line = self.answer_line
            if line is None:
                line = self.answer_line = CreditLine()
            if not line.spend(len(frame.data)):
                self.abort(
                    ErrorValue(pb.PROCESSING_ERROR, "the answer exceeded its credit", delivered=pb.DELIVERED_YES)
                )
                return
        elif kind == _WINDOW:
            if self.request_line is None:
                self.request_line = CreditLine()
            self.request_line.grant(frame.credit)
        else:
            return
        frame.call = self.number
        self.caller.send(frame)

    def cancel(self) -> None:
        """The caller gave up: the answerer is told, the caller hears nothing more."""
        if self.over:
            return
        self._part()
        self.ended(pb.CANCELLED)

    def abort(self, error: ErrorValue) -> None:
        """End the call from here: the answerer gets a CANCEL, the caller the error."""
        if self.over:
            return
        self._part()
        self.caller.send(close_with(self.number, error))
        self.ended(error.code)

    def _part(self) -> None:
        self.over = True
        self.caller.forget(self.number)
        answerer = self.answerer
        if answerer is not None:
            answerer.forget(self.far)
            answerer.send(pb.Frame(kind=pb.CANCEL, call=self.far))

    def ended(self, code: int) -> None:
        """The call is over. code: 0 or the error's."""

    def too_large(self) -> ErrorValue:
        """What a request that is over its bound ends with."""
        return too_large(_UNBOUNDED)


class Delivery(Relay):
    """A call on its way to an agent of this instance; holds a slot, or a place in the queue."""

    __slots__ = ("_deliverer", "entry", "expiry", "started", "ticket")

    def __init__(self, deliverer: "Deliverer", entry: "Entry", caller: Peer, first: pb.Frame) -> None:
        super().__init__(caller, first)
        self._deliverer = deliverer
        self.entry = entry
        self.ticket: Ticket | None = None
        self.expiry: tuple[int, int] | None = None
        self.started = 0.0
        # The OPEN's own bytes, at most one frame, are the gateway's to count: looking at them here copies them
        self.left = entry.max_bytes

    def ended(self, code: int) -> None:
        self._deliverer.ended(self, code)

    def may_keep(self, size: int) -> bool:
        return self.ticket is None or self._deliverer.admission.grow(self.ticket, size)

    def turned_away(self) -> None:
        """It was refused after it had waited; it never reached a host."""

    def too_large(self) -> ErrorValue:
        return too_large(self.entry.max_bytes)


def too_much_waits() -> ErrorValue:
    """The payloads of calls that wait fill their bound."""
    return ErrorValue(pb.OVERLOADED, "the payloads of calls that wait are too large together", WAIT_RETRY_MS)


def too_large(limit: int) -> ErrorValue:
    """A payload over an Agent's maxPayloadBytes."""
    return ErrorValue(pb.PAYLOAD_TOO_LARGE, f"the payload is over {limit} bytes, the Agent's maxPayloadBytes")
