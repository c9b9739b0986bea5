"""What becomes of a frame when the other end of its stream does not read: memory stays bounded, callers learn of it.

New calls, pieces and large answers are not queued; their calls end with OVERLOADED. What is small and ends something
(errors, small answers, CANCEL, WINDOW) still is, bounded by the number of calls. The stream itself stays: one that is
dead is noticed by its pings.
"""

from dataclasses import dataclass
from typing import Final

from switchboard_wire.errors import ErrorValue, close_with
from switchboard_wire.limits import MAX_MESSAGE_BYTES
from switchboard_wire.v1 import frames_pb2 as pb

# An answer up to here costs no more than the error that would be put in its place
SMALL_BYTES: Final = 512
# By then a reader that was only slow has caught up
RETRY_AFTER_MS: Final = 1000


@dataclass(frozen=True, slots=True)
class Instead:
    """written: queued in the frame's place. told: handed to this end's handler of the call."""

    written: pb.Frame | None = None
    told: pb.Frame | None = None


def shed(frame: pb.Frame, label: str, *, ours: bool) -> Instead | None:
    """What to do instead of queueing a frame; None: queue it all the same. ours: this end opened the call."""
    kind, call = frame.kind, frame.call
    if kind == pb.OPEN:
        return Instead(told=_overloaded(call, label, pb.DELIVERED_NO))
    if kind == pb.DATA and ours:
        return Instead(pb.Frame(kind=pb.CANCEL, call=call), _overloaded(call, label, pb.DELIVERED_MAYBE))
    if kind == pb.DATA:
        return Instead(_overloaded(call, "the caller", pb.DELIVERED_YES), pb.Frame(kind=pb.CANCEL, call=call))
    if kind == pb.CLOSE and frame.ByteSize() > SMALL_BYTES:
        return Instead(_overloaded(call, "the caller", pb.DELIVERED_YES))
    return None


def refuse(frame: pb.Frame, *, ours: bool) -> Instead | None:
    """What to do instead of writing a frame that no other end would read; None: nothing can tell of it.

    Our own payloads are cut into pieces, so that headers are what is too large, or a piece from elsewhere that has just
    fitted. One such frame would end the stream with all calls on it.
    """
    kind, call = frame.kind, frame.call
    piece = f"a piece is over {MAX_MESSAGE_BYTES} bytes: send smaller ones"
    if kind == pb.OPEN:
        why = f"headers: over {MAX_MESSAGE_BYTES} bytes with ids; put data in the payload"
        return Instead(told=close_with(call, ErrorValue(pb.VALIDATION_FAILED, why)))
    if kind == pb.DATA and ours:
        fault = ErrorValue(pb.VALIDATION_FAILED, piece, delivered=pb.DELIVERED_MAYBE)
        return Instead(pb.Frame(kind=pb.CANCEL, call=call), close_with(call, fault))
    if kind == pb.DATA:
        fault = ErrorValue(pb.PROCESSING_ERROR, f"the answer: {piece}", delivered=pb.DELIVERED_YES)
        return Instead(close_with(call, fault), pb.Frame(kind=pb.CANCEL, call=call))
    if kind == pb.CLOSE and not ours:
        why = f"the answer's headers are over {MAX_MESSAGE_BYTES} bytes"
        return Instead(close_with(call, ErrorValue(pb.PROCESSING_ERROR, why, delivered=pb.DELIVERED_YES)))
    return None


def _overloaded(call: int, who: str, delivered: int) -> pb.Frame:
    message = f"{who or 'the other end'} does not read: too much waits for it already"
    return close_with(call, ErrorValue(pb.OVERLOADED, message, RETRY_AFTER_MS, delivered))
