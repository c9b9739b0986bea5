"""What waits to be written on one stream, and which of it goes into the next batch."""

from collections import OrderedDict, deque

from switchboard_wire.limits import MAX_BATCH_BYTES
from switchboard_wire.v1 import frames_pb2 as pb

# Without a bound, all calls in flight travel as one batch and every process on the way waits for it in turn: bounded,
# the next process works on the first batch while this one fills the second. Smaller costs more gRPC messages.
MAX_BATCH_FRAMES = 64
# What one call may put into a batch before the next has its turn
TURN_BYTES = 32 * 1024
# Tag and length of a frame in its batch
FRAME_BYTES = 5


class Outbox:
    """Frames in the order they were sent, taken as serialized batches of at most 256 KiB.

    A batch holds everything that waits, up to 64 frames, when it fits. When it does not, calls take turns of 32 KiB, so
    that a long answer never delays a short one by more than a batch; the frames of one call keep their order.
    """

    __slots__ = ("_bytes", "_frames", "_measured")

    def __init__(self) -> None:
        self._frames: list[pb.Frame] = []
        self._measured = 0  # so many of the frames are counted in _bytes
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._frames)

    def append(self, frame: pb.Frame) -> None:
        self._frames.append(frame)

    def measure(self) -> int:
        """The bytes that wait. Asked only while the stream is not writable: counting costs, most frames just pass."""
        frames = self._frames
        for index in range(self._measured, len(frames)):
            self._bytes += frames[index].ByteSize() + FRAME_BYTES
        self._measured = len(frames)
        return self._bytes

    def take(self) -> bytes:
        """The next batch, serialized; empty bytes when nothing waits."""
        if not self._frames:
            return b""
        if not self._measured:
            return self._take()
        self.measure()
        data = self._take()
        self._measured = len(self._frames)
        self._bytes = max(0, self._bytes - len(data)) if self._measured else 0
        return data

    def _take(self) -> bytes:
        frames = self._frames
        if len(frames) > MAX_BATCH_FRAMES:
            data = pb.Batch(frames=frames[:MAX_BATCH_FRAMES]).SerializeToString()
            if len(data) <= MAX_BATCH_BYTES:
                self._frames = frames[MAX_BATCH_FRAMES:]
                return data
        else:
            data = pb.Batch(frames=frames).SerializeToString()
            if len(data) <= MAX_BATCH_BYTES:
                self._frames = []
                return data
        chosen, self._frames = take_turns(frames, MAX_BATCH_BYTES)
        return pb.Batch(frames=chosen).SerializeToString()

    def drain(self) -> list[pb.Frame]:
        """Everything that was never taken, for the owner of a broken stream."""
        frames, self._frames = self._frames, []
        self._measured = self._bytes = 0
        return frames


def take_turns(frames: list[pb.Frame], limit: int) -> tuple[list[pb.Frame], list[pb.Frame]]:
    """Split into (a batch of at most `limit` bytes, but at least one frame; what stays, in its order)."""
    waiting: OrderedDict[int, deque[tuple[int, pb.Frame, int]]] = OrderedDict()
    for index, frame in enumerate(frames):
        waiting.setdefault(frame.call, deque()).append((index, frame, frame.ByteSize() + FRAME_BYTES))
    chosen: list[pb.Frame] = []
    used = 0
    while waiting:
        call, queue = waiting.popitem(last=False)
        turn = 0
        while queue and turn < TURN_BYTES:
            _, frame, size = queue[0]
            if chosen and used + size > limit:
                waiting[call] = queue
                return chosen, _in_order(waiting)
            queue.popleft()
            chosen.append(frame)
            used += size
            turn += size
        if queue:
            waiting[call] = queue
    return chosen, []


def _in_order(waiting: OrderedDict[int, deque[tuple[int, pb.Frame, int]]]) -> list[pb.Frame]:
    """What is left, those whose turn comes next first, so that the turns go on in the next batch."""
    left: list[pb.Frame] = []
    for queue in waiting.values():
        left.extend(frame for _, frame, _ in queue)
    return left
