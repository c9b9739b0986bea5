"""Length-prefixed batches: whole ones are handed on, however the socket cuts them."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchboard_wire.limits import MAX_MESSAGE_BYTES
from switchboard_wire.peer import Peer, ProtocolError
from switchboard_wire.sockets import SocketPeer, receive_batches
from switchboard_wire.v1 import frames_pb2 as pb


class Seen:
    def __init__(self) -> None:
        self.pings: list[int] = []

    def on_open(self, peer: Peer, frame: pb.Frame) -> None: ...

    def on_control(self, peer: Peer, frame: pb.Frame) -> None:
        self.pings.append(frame.ping.number)

    def on_lost(self, peer: Peer) -> None: ...


def encode(number: int) -> bytes:
    batch = pb.Batch(frames=[pb.Frame(kind=pb.PING, ping=pb.Ping(number=number))]).SerializeToString()
    return len(batch).to_bytes(4, "big") + batch


@given(st.integers(0, 12), st.lists(st.integers(0, 40), max_size=30))
async def test_batches_survive_any_cut(count: int, cuts: list[int]) -> None:
    seen = Seen()
    peer = Peer(seen, dialled=True)
    data = b"".join(encode(number) for number in range(1, count + 1))
    buffer = b""
    for cut in [*cuts, len(data)]:
        buffer, data = buffer + data[:cut], data[cut:]
        buffer = buffer[receive_batches(peer, buffer) :]
    assert seen.pings == list(range(1, count + 1))
    assert buffer == b""


def test_a_batch_that_claims_too_much_ends_the_stream() -> None:
    with pytest.raises(ProtocolError, match="over"):
        receive_batches(Peer(Seen(), dialled=True), (MAX_MESSAGE_BYTES + 1).to_bytes(4, "big"))


class Written:
    """A transport that keeps what is written, a batch in each write."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def write(self, data: bytes) -> None:
        self.sizes.append(len(pb.Batch.FromString(data[4:]).frames))


def frames_in_batches(open_calls: int, sent: int) -> tuple[list[int], list[int]]:
    """How many frames each write has within one turn of the loop, and at its end, with so many calls open."""
    loop = asyncio.new_event_loop()

    async def send() -> tuple[list[int], list[int]]:
        peer, transport = SocketPeer(Seen(), dialled=True), Written()
        peer.calls = {number: lambda _: None for number in range(1, 2 * open_calls, 2)}
        peer.attach(transport)  # type: ignore[arg-type]
        for number in range(sent):
            peer.send(pb.Frame(kind=pb.DATA, call=number))
        within = list(transport.sizes)
        await asyncio.sleep(0)
        return within, transport.sizes[len(within) :]

    try:
        return loop.run_until_complete(send())
    finally:
        loop.close()


def test_what_waits_is_written_at_the_end_of_the_turn() -> None:
    assert frames_in_batches(open_calls=8, sent=8) == ([], [8])


def test_a_share_of_the_open_calls_is_written_at_once_so_that_the_next_process_need_not_wait_for_all() -> None:
    assert frames_in_batches(open_calls=32, sent=32) == ([16, 16], [])
    assert frames_in_batches(open_calls=128, sent=128) == ([42, 42, 42], [2])
    assert frames_in_batches(open_calls=1000, sent=130) == ([64, 64], [2])


def test_a_long_answer_among_few_calls_goes_in_the_largest_batches() -> None:
    assert frames_in_batches(open_calls=1, sent=100) == ([64], [36])
