"""What waits to be written on one stream, and which of it goes into the next batch."""

from collections import OrderedDict, deque
from collections.abc import Callable

from switchboard_wire.limits import MAX_BATCH_BYTES, MAX_MESSAGE_BYTES
from switchboard_wire.v1 import frames_pb2 as pb

# All calls in flight would travel as one batch, if they could, and every process on the way wait for it in turn. So a
# batch is written before its turn of the loop is over once it holds a share of the calls that are open: the next
# process works on it while this one fills the next. Smaller costs more in writes than it brings.
MIN_BATCH_FRAMES = 16
MAX_BATCH_FRAMES = 64
BATCHES_UNDER_WAY = 3
# With fewer calls open a batch that fills up is a piece of somebody's long answer, for which size is all that counts
FEW_CALLS = 2 * MIN_BATCH_FRAMES
# With more waiting than this, a call may be in a hurry behind another's long answer. Below, order of arrival is fair
# enough, and costs nothing per frame.
CROWD_FRAMES = 2 * MAX_BATCH_FRAMES
# Tag and length of a frame in its batch
FRAME_BYTES = 5
_TAG = b"\x0a"  # of Batch.frames, length-delimited
_SEVEN_BITS = 0x7F


def enough_for_a_batch(open_calls: int) -> int:
    """How many frames are written at once rather than at the end of the turn, with so many calls open."""
    if open_calls < FEW_CALLS:
        return MAX_BATCH_FRAMES
    return min(max(open_calls // BATCHES_UNDER_WAY, MIN_BATCH_FRAMES), MAX_BATCH_FRAMES)


def _head_of(size: int) -> bytes:
    """Tag and length (a varint) of a frame of so many bytes."""
    head = bytearray(_TAG)
    while size > _SEVEN_BITS:
        head.append(size & _SEVEN_BITS | 0x80)
        size >>= 7
    head.append(size)
    return bytes(head)


# Of the sizes that most frames have
_HEADS = [_head_of(size) for size in range(2048)]


def serialize(frames: list[pb.Frame]) -> bytes:
    """What `Batch(frames=frames)` serializes to, in half of the time: protobuf copies each frame into a batch first."""
    parts: list[bytes] = []
    for frame in frames:
        data = frame.SerializeToString()
        size = len(data)
        parts.append(_HEADS[size] if size < len(_HEADS) else _head_of(size))
        parts.append(data)
    return b"".join(parts)


Refuse = Callable[[pb.Frame], pb.Frame | None]


def _leave_out(_: pb.Frame) -> None:
    return None


class Outbox:
    """Frames in the order they were sent, taken as serialized batches of at most 64 frames and 256 KiB.

    When more waits than a batch or two hold, calls take turns of one frame, so that a long answer delays a short one by
    no more than a round of the calls that wait; the frames of one call keep their order. Each frame is looked at a
    bounded number of times, however many wait.

    refuse: given a frame that no batch may hold; what goes in its place, if anything.
    """

    __slots__ = ("_bytes", "_frames", "_measured", "_refuse", "_turn_bytes", "_turn_frames", "_turns")

    def __init__(self, refuse: Refuse = _leave_out) -> None:
        self._refuse = refuse
        self._frames: list[pb.Frame] = []  # what came last, in order of arrival
        self._measured = 0  # so many of them are counted in _bytes
        self._bytes = 0
        # What came before and takes turns: frames with their sizes by call, the call whose turn is next at the front
        self._turns: OrderedDict[int, deque[tuple[pb.Frame, int]]] = OrderedDict()
        self._turn_frames = 0
        self._turn_bytes = 0

    def __len__(self) -> int:
        return len(self._frames) + self._turn_frames

    def append(self, frame: pb.Frame) -> int:
        """Queue a frame. Returns how many came since a batch was taken last."""
        frames = self._frames
        frames.append(frame)
        return len(frames)

    def measure(self) -> int:
        """The bytes that wait. Asked only while the stream is not writable: counting costs, most frames just pass."""
        frames = self._frames
        for index in range(self._measured, len(frames)):
            self._bytes += frames[index].ByteSize() + FRAME_BYTES
        self._measured = len(frames)
        return self._bytes + self._turn_bytes

    def take(self) -> bytes:
        """The next batch, serialized; empty bytes when nothing waits."""
        frames = self._frames
        if self._turns or len(frames) > CROWD_FRAMES:
            return self._take_turns()
        if not frames:
            return b""
        first = frames if len(frames) <= MAX_BATCH_FRAMES else frames[:MAX_BATCH_FRAMES]
        data = serialize(first)
        if len(data) > MAX_BATCH_BYTES:
            return self._take_turns()
        self._frames = frames[MAX_BATCH_FRAMES:]
        self._measured = self._bytes = 0
        return data

    def drain(self) -> list[pb.Frame]:
        """Everything that was never taken, for the owner of a broken stream."""
        left = [frame for queue in self._turns.values() for frame, _ in queue] + self._frames
        self._turns.clear()
        self._frames = []
        self._measured = self._bytes = self._turn_frames = self._turn_bytes = 0
        return left

    def _line_up(self) -> None:
        """Give what came since the last batch its place in its call's queue."""
        turns = self._turns
        for waiting in self._frames:
            frame, size = waiting, waiting.ByteSize() + FRAME_BYTES
            if size > MAX_MESSAGE_BYTES:
                instead = self._refuse(frame)
                if instead is None:
                    continue
                frame, size = instead, instead.ByteSize() + FRAME_BYTES
            queue = turns.get(frame.call)
            if queue is None:
                queue = turns[frame.call] = deque()
            queue.append((frame, size))
            self._turn_frames += 1
            self._turn_bytes += size
        self._frames = []
        self._measured = self._bytes = 0

    def _take_turns(self) -> bytes:
        self._line_up()
        turns = self._turns
        chosen: list[pb.Frame] = []
        used = 0
        while turns and len(chosen) < MAX_BATCH_FRAMES:
            call, queue = next(iter(turns.items()))
            frame, size = queue[0]
            if chosen and used + size > MAX_BATCH_BYTES:
                break
            queue.popleft()
            chosen.append(frame)
            used += size
            if queue:
                turns.move_to_end(call)
            else:
                del turns[call]
        self._turn_frames -= len(chosen)
        self._turn_bytes -= used
        return serialize(chosen)
