"""Two peers joined in memory: what one end sends is what the other end gets, whatever its size."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from switchboard_wire.calls import IncomingCall, OutgoingCall, Payload, call_unary, new_open
from switchboard_wire.errors import ErrorValue, SwitchboardError
from switchboard_wire.limits import INITIAL_CREDIT_BYTES, MAX_BATCH_BYTES, MAX_DATA_BYTES, MAX_UINT32
from switchboard_wire.outbox import CROWD_FRAMES, MAX_BATCH_FRAMES, Outbox
from switchboard_wire.peer import Peer, ProtocolError, local_pair
from switchboard_wire.v1 import frames_pb2 as pb

Answerer = Callable[[IncomingCall], Awaitable[None]]


class Answering:
    """Answers each call in a task of its own."""

    def __init__(self, answer: Answerer | None = None) -> None:
        self._answer = answer
        self.tasks: list[asyncio.Task[None]] = []
        self.calls: list[IncomingCall] = []
        self.lost = False

    def on_open(self, peer: Peer, frame: pb.Frame) -> None:
        call = IncomingCall(peer, frame)
        self.calls.append(call)
        if self._answer is not None:
            self.tasks.append(asyncio.ensure_future(self._answer(call)))

    def on_control(self, peer: Peer, frame: pb.Frame) -> None:
        pass

    def on_lost(self, peer: Peer) -> None:
        self.lost = True


def connect(answer: Answerer | None = None) -> tuple[Peer, Answering]:
    far = Answering(answer)
    near, _ = local_pair(Answering(), far)
    return near, far


async def echo(call: IncomingCall) -> None:
    await call.close(Payload(await call.body(limit=1 << 24), "text/plain"), processing_us=7)


async def test_a_large_answer_goes_ahead_in_full_frames() -> None:
    near, _ = connect(echo)
    call = OutgoingCall(near, new_open(target(), Payload(b"x" * 100), end=False))
    await call.send(b"x" * (2 * MAX_DATA_BYTES), end=True)
    assert [len(frame.data) async for frame in call.pieces()] == [MAX_DATA_BYTES, MAX_DATA_BYTES]
    assert len((await call.closed).data) == 100


def target(type_: str = "echo") -> pb.Open:
    return pb.Open(target=pb.Target(type=type_))


@pytest.mark.parametrize("size", [0, 1, 256, 120 * 1024, 120 * 1024 + 1, 3 * 1024 * 1024])
async def test_an_answer_is_the_payload_whatever_its_size(size: int) -> None:
    near, _ = connect(echo)
    close = await call_unary(near, target(), Payload(b"x" * size))
    assert close.data == b"x" * size
    assert (close.content_type, close.processing_us) == ("text/plain", 7)
    assert near.calls == {}


async def test_an_error_is_raised_with_its_code() -> None:
    async def refuse(call: IncomingCall) -> None:
        call.fail(ErrorValue(pb.OVERLOADED, "the queue is full", retry_after_ms=250))

    near, _ = connect(refuse)
    with pytest.raises(SwitchboardError, match="the queue is full") as caught:
        await call_unary(near, target(), Payload(b"x"))
    assert (caught.value.code, caught.value.retry_after_s) == ("OVERLOADED", 0.25)


async def test_a_payload_over_the_limit_is_refused() -> None:
    async def small(call: IncomingCall) -> None:
        with pytest.raises(SwitchboardError, match="over 10 bytes") as caught:
            await call.body(limit=10)
        call.fail(caught.value.error)

    near, _ = connect(small)
    with pytest.raises(SwitchboardError, match="PAYLOAD_TOO_LARGE"):
        await call_unary(near, target(), Payload(b"x" * 11))


async def test_pieces_arrive_in_order_and_a_reader_that_waits_stops_the_sender() -> None:
    sent = 0

    async def flood(call: IncomingCall) -> None:
        nonlocal sent
        for _ in range(100):
            await call.send(b"x" * 32 * 1024)
            sent += 32 * 1024
        await call.close(Payload())

    near, far = connect(flood)
    call = OutgoingCall(near, new_open(target(), Payload(), end=True))
    pieces = call.pieces()
    first = await anext(pieces)
    for _ in range(50):
        await asyncio.sleep(0)
    assert INITIAL_CREDIT_BYTES <= sent <= INITIAL_CREDIT_BYTES + 32 * 1024
    rest = [frame.data async for frame in pieces]
    assert first.data + b"".join(rest) == b"x" * 100 * 32 * 1024
    await asyncio.gather(*far.tasks)


async def two_pieces(call: IncomingCall) -> None:
    await call.send(b"one")
    await call.send(b"two")
    await call.close(Payload(b"end"))


@pytest.mark.parametrize("is_late", [False, True], ids=["as they come", "that came before"])
async def test_whoever_gathers_an_answer_is_handed_all_its_pieces(is_late: bool) -> None:
    near, _ = connect(two_pieces)
    call = OutgoingCall(near, new_open(target(), Payload(), end=True))
    if is_late:
        await call.closed
    seen: list[bytes] = []
    close = await call.gather(lambda frame: seen.append(frame.data))
    assert [*seen, close.data] == [b"one", b"two", b"end"]


@pytest.mark.parametrize("is_late", [False, True], ids=["as they come", "that came before"])
async def test_what_a_piece_raises_is_the_end_of_a_gathered_call(is_late: bool) -> None:
    def refuse(frame: pb.Frame) -> None:
        raise SwitchboardError(ErrorValue(pb.PAYLOAD_TOO_LARGE, "too much"))

    near, far = connect(two_pieces)
    call = OutgoingCall(near, new_open(target(), Payload(), end=True))
    if is_late:
        await call.closed
    with pytest.raises(SwitchboardError, match="too much"):
        await call.gather(refuse)
    call.cancel()
    await asyncio.gather(*far.tasks)
    assert near.calls == {}


async def test_cancelling_whoever_gathers_reaches_the_answerer() -> None:
    near, far = connect()
    waiting = asyncio.ensure_future(call_unary(near, target(), Payload(b"x")))
    while not far.calls:
        await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    while not far.calls[0].cancelled:
        await asyncio.sleep(0)
    assert near.calls == {}


async def test_cancelling_the_caller_reaches_the_answerer() -> None:
    near, far = connect()
    call = OutgoingCall(near, new_open(target(), Payload(), end=True))
    await asyncio.sleep(0)
    call.cancel()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert [incoming.cancelled for incoming in far.calls] == [True]
    assert (await call.closed).error.code == pb.CANCELLED


async def test_a_lost_stream_ends_each_call_and_tells_whether_it_was_written() -> None:
    peer = Peer(Answering(), dialled=True, label="gateway")
    ended: list[tuple[int, int]] = []
    peer.open(new_open(target(), Payload(), end=True), lambda f: ended.append((f.call, f.error.delivered)))
    await peer.next_batch()
    peer.open(new_open(target(), Payload(), end=True), lambda f: ended.append((f.call, f.error.delivered)))
    peer.lose("gone")
    assert ended == [(1, pb.DELIVERED_MAYBE), (3, pb.DELIVERED_NO)]


def test_garbage_and_a_stolen_number_end_the_stream() -> None:
    peer = Peer(Answering(), dialled=True)
    with pytest.raises(ProtocolError, match="not a batch"):
        peer.receive(b"GET / HTTP/1.1\r\n")
    with pytest.raises(ProtocolError, match="number of this end's"):
        peer.receive(pb.Batch(frames=[pb.Frame(kind=pb.OPEN, call=1)]).SerializeToString())


frames = st.lists(
    st.builds(
        lambda call, size: pb.Frame(kind=pb.DATA, call=call, data=b"x" * size),
        st.integers(1, 5),
        st.integers(0, 100_000) | st.just(10),
    ),
    max_size=40,
)
# Lists of frames, each sent at once, with batches taken in between; some are long enough for a crowd
bursts = st.lists(
    st.one_of(frames, st.integers(1, 3 * CROWD_FRAMES).map(lambda count: [small(call % 7) for call in range(count)])),
    max_size=6,
)


def small(call: int) -> pb.Frame:
    return pb.Frame(kind=pb.DATA, call=call, data=b"x" * 10)


@settings(deadline=None)
@given(bursts, st.lists(st.integers(0, 3), max_size=6), st.booleans())
def test_batches_are_bounded_complete_and_keep_the_order_of_each_call(
    sent: list[list[pb.Frame]], taken_between: list[int], measures: bool
) -> None:
    outbox = Outbox()
    received: list[pb.Frame] = []

    def take() -> bool:
        before = len(outbox)
        batch = outbox.take()
        frames = pb.Batch.FromString(batch).frames
        assert len(batch) <= MAX_BATCH_BYTES
        assert len(frames) <= MAX_BATCH_FRAMES
        assert len(outbox) == before - len(frames)
        received.extend(frames)
        return bool(batch)

    number = 0
    for burst, takes in zip(sent, taken_between + [0] * len(sent), strict=False):
        for frame in burst:
            number += 1
            frame.credit = number
            outbox.append(frame)
        if measures:
            outbox.measure()
        for _ in range(takes):
            take()
    while take():
        pass
    assert outbox.measure() == len(outbox) == 0
    assert sorted(frame.credit for frame in received) == list(range(1, number + 1))
    for call in range(7):
        numbers = [frame.credit for frame in received if frame.call == call]
        assert numbers == sorted(numbers)


def test_a_short_answer_does_not_wait_behind_a_long_one() -> None:
    long = [pb.Frame(kind=pb.DATA, call=1, data=b"x" * 60_000) for _ in range(20)]
    short = pb.Frame(kind=pb.CLOSE, call=3, data=b"y")
    outbox = Outbox()
    for frame in [*long, short]:
        outbox.append(frame)
    assert short in pb.Batch.FromString(outbox.take()).frames


def test_in_a_crowd_every_call_has_its_turn_in_the_first_batch() -> None:
    outbox = Outbox()
    for call in range(MAX_BATCH_FRAMES):
        for _ in range(100):
            outbox.append(small(call))
    assert [frame.call for frame in pb.Batch.FromString(outbox.take()).frames] == list(range(MAX_BATCH_FRAMES))


def test_what_waits_is_measured_while_calls_take_turns() -> None:
    outbox = Outbox()
    for call in range(10 * CROWD_FRAMES):
        outbox.append(small(call % 3))
    before = outbox.measure()
    outbox.take()
    for _ in range(5):
        outbox.append(small(1))
    each = before / (10 * CROWD_FRAMES)
    assert before - 65 * each <= outbox.measure() <= before - 57 * each


# Streams that live for months


async def test_the_numbers_of_calls_start_again_when_they_have_run_out() -> None:
    peer = Peer(Answering(), dialled=True)
    first = peer.open(new_open(pb.Open(), Payload(b""), end=True), lambda frame: None)
    peer._next = MAX_UINT32
    frames = [new_open(pb.Open(), Payload(b""), end=True) for _ in range(3)]
    assert (first, [peer.open(frame, lambda frame: None) for frame in frames]) == (1, [MAX_UINT32, 3, 5])


async def test_an_answer_that_took_longer_than_its_field_can_tell_is_an_answer() -> None:
    peer = Peer(Answering(), dialled=False)
    call = IncomingCall(peer, pb.Frame(kind=pb.OPEN, call=1, end=True))
    await call.close(Payload(b"done"), processing_us=90 * 60 * 1_000_000)
    [close] = pb.Batch.FromString(peer.outbox.take()).frames
    assert (close.data, close.processing_us) == (b"done", MAX_UINT32)
