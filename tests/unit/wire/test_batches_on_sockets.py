"""Length-prefixed batches: whole ones are handed on, however the socket cuts them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchboard_wire.limits import MAX_MESSAGE_BYTES
from switchboard_wire.peer import Peer, ProtocolError
from switchboard_wire.sockets import receive_batches
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
