"""A reader that does not read costs bounded memory, and its calls end with an error instead of never."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from switchboard_wire.limits import MAX_MESSAGE_BYTES
from switchboard_wire.peer import MEASURED_EVERY, Peer
from switchboard_wire.v1 import frames_pb2 as pb

KIB = 1024
BOUND = 64 * KIB


class Silent:
    def on_open(self, peer: Peer, frame: pb.Frame) -> None: ...

    def on_control(self, peer: Peer, frame: pb.Frame) -> None: ...

    def on_lost(self, peer: Peer) -> None: ...


def stuck_peer() -> Peer:
    """A peer to which more waits than its bound allows; its own calls are even, the other end's odd."""
    peer = Peer(Silent(), dialled=False, label="the client")
    peer.bound = BOUND
    peer.accept(1, lambda frame: None)
    for _ in range(4 * MEASURED_EVERY):
        peer.send(pb.Frame(kind=pb.DATA, call=1, data=b"x" * KIB))
    return peer


def bytes_waiting(peer: Peer) -> int:
    return sum(frame.ByteSize() for frame in peer.outbox.drain())


def read(peer: Peer) -> list[pb.Frame]:
    """What the other end gets when it reads on."""
    frames: list[pb.Frame] = []
    while data := peer.outbox.take():
        frames.extend(pb.Batch.FromString(data).frames)
    return frames


async def test_what_waits_for_a_reader_that_does_not_read_is_bounded() -> None:
    peer = stuck_peer()
    for number in range(3, 3003, 2):
        peer.accept(number, lambda frame: None)
        peer.send(pb.Frame(kind=pb.DATA, call=number, data=b"x" * KIB))
    assert peer.shed > 1000
    assert bytes_waiting(peer) < BOUND + MEASURED_EVERY * 2 * KIB + 1500 * 150  # an error for each call


async def test_a_piece_of_an_answer_ends_its_call_at_both_ends() -> None:
    peer = stuck_peer()
    told: list[pb.Frame] = []
    peer.accept(3, told.append)
    for _ in range(3):
        peer.send(pb.Frame(kind=pb.DATA, call=3, data=b"x" * KIB))
    await asyncio.sleep(0)
    assert [frame.kind for frame in told] == [pb.CANCEL]
    (close,) = [frame for frame in read(peer) if frame.call == 3]
    assert (close.kind, close.error.code, close.error.delivered) == (pb.CLOSE, pb.OVERLOADED, pb.DELIVERED_YES)
    assert close.error.retry_after_ms > 0


async def test_a_large_answer_becomes_an_error_and_a_small_one_passes() -> None:
    peer = stuck_peer()
    peer.send(pb.Frame(kind=pb.CLOSE, call=3, data=b"x" * KIB))
    peer.send(pb.Frame(kind=pb.CLOSE, call=5, data=b"small"))
    closes = {frame.call: frame for frame in read(peer) if frame.kind == pb.CLOSE}
    assert (closes[3].error.code, closes[3].error.delivered) == (pb.OVERLOADED, pb.DELIVERED_YES)
    assert (closes[5].HasField("error"), closes[5].data) == (False, b"small")


async def test_a_new_call_is_refused_undelivered_so_that_it_goes_elsewhere() -> None:
    peer = stuck_peer()
    told: list[pb.Frame] = []
    number = peer.open(pb.Frame(kind=pb.OPEN, data=b"x"), told.append)
    await asyncio.sleep(0)
    (close,) = told
    assert (close.call, close.error.code, close.error.delivered) == (number, pb.OVERLOADED, pb.DELIVERED_NO)
    assert close.error.retry_after_ms > 0
    assert number not in peer.calls
    assert not [frame for frame in read(peer) if frame.kind == pb.OPEN]


async def test_a_piece_of_a_request_ends_its_call_and_the_handler_is_cancelled() -> None:
    peer = Peer(Silent(), dialled=False, label="instance a")
    told: list[pb.Frame] = []
    number = peer.open(pb.Frame(kind=pb.OPEN), told.append)
    peer.bound = 0
    for _ in range(MEASURED_EVERY):
        peer.send(pb.Frame(kind=pb.PING))
    peer.send(pb.Frame(kind=pb.DATA, call=number, data=b"more"))
    await asyncio.sleep(0)
    assert [(frame.error.code, frame.error.delivered) for frame in told] == [(pb.OVERLOADED, pb.DELIVERED_MAYBE)]
    assert [frame.kind for frame in read(peer) if frame.call == number] == [pb.OPEN, pb.CANCEL]


async def test_cancels_credit_and_pings_always_pass() -> None:
    peer = stuck_peer()
    for kind in (pb.CANCEL, pb.WINDOW, pb.PING, pb.GOAWAY, pb.HOSTED):
        peer.send(pb.Frame(kind=kind, call=7))
    assert [frame.kind for frame in read(peer) if frame.call == 7] == [
        pb.CANCEL,
        pb.WINDOW,
        pb.PING,
        pb.GOAWAY,
        pb.HOSTED,
    ]


async def test_a_reader_that_reads_on_is_served_again() -> None:
    peer = stuck_peer()
    while peer.outbox:
        await peer.next_batch()
    told: list[pb.Frame] = []
    peer.open(pb.Frame(kind=pb.OPEN, data=b"x"), told.append)
    assert ([frame.kind for frame in read(peer)], told) == ([pb.OPEN], [])


@pytest.mark.parametrize("bound", [None, 1 << 30])
async def test_without_a_bound_everything_is_kept(bound: int | None) -> None:
    peer = Peer(Silent(), dialled=True)
    peer.bound = bound
    for _ in range(1000):
        peer.send(pb.Frame(kind=pb.DATA, call=1, data=b"x" * KIB))
    assert (peer.shed, len(peer.outbox)) == (0, 1000)


async def test_a_peer_that_is_lost_queues_nothing() -> None:
    peer = stuck_peer()
    peer.lose("gone")
    peer.send(pb.Frame(kind=pb.PING))
    assert (len(peer.outbox), peer.calls) == (0, {})


# Frames that no other end would read


async def test_an_open_that_is_too_large_ends_its_own_call_and_no_other() -> None:
    peer = Peer(Silent(), dialled=True, label="the gateway")
    told: list[pb.Frame] = []
    large = pb.Frame(kind=pb.OPEN, open=pb.Open(headers={"x": "y" * MAX_MESSAGE_BYTES}))
    peer.open(large, told.append)
    small = peer.open(pb.Frame(kind=pb.OPEN), told.append)
    batches = [batch async for batch in batches_of(peer)]
    assert [frame.call for data in batches for frame in pb.Batch.FromString(data).frames] == [small]
    await asyncio.sleep(0)
    assert [(frame.call, frame.error.code, frame.error.delivered) for frame in told] == [
        (1, pb.VALIDATION_FAILED, pb.DELIVERED_NO)
    ]
    assert list(peer.calls) == [small]


async def test_an_answer_that_is_too_large_is_an_error_to_its_caller() -> None:
    peer = Peer(Silent(), dialled=False, label="the client")
    peer.send(pb.Frame(kind=pb.CLOSE, call=1, headers={"x": "y" * MAX_MESSAGE_BYTES}))
    batches = [batch async for batch in batches_of(peer)]
    [close] = [frame for data in batches for frame in pb.Batch.FromString(data).frames]
    assert (close.call, close.error.code, close.error.delivered) == (1, pb.PROCESSING_ERROR, pb.DELIVERED_YES)


@pytest.mark.parametrize("dialled", [True, False], ids=["of the request", "of the answer"])
async def test_a_piece_that_is_too_large_ends_its_call_with_an_error_on_both_ends(dialled: bool) -> None:
    peer = Peer(Silent(), dialled=dialled, label="the other end")
    told: list[pb.Frame] = []
    peer.accept(1, told.append)
    peer.send(pb.Frame(kind=pb.DATA, call=1, data=b"x" * MAX_MESSAGE_BYTES))
    peer.send(pb.Frame(kind=pb.CLOSE, call=1) if not dialled else pb.Frame(kind=pb.DATA, call=1, end=True))
    frames = [
        frame for data in [batch async for batch in batches_of(peer)] for frame in pb.Batch.FromString(data).frames
    ]
    await asyncio.sleep(0)
    closed, cancelled = (told[0], frames[0]) if dialled else (frames[0], told[0])
    assert closed.error.code == (pb.VALIDATION_FAILED if dialled else pb.PROCESSING_ERROR)
    assert (closed.error.delivered, cancelled.kind) == (pb.DELIVERED_MAYBE if dialled else pb.DELIVERED_YES, pb.CANCEL)
    assert not peer.calls


async def test_a_message_of_the_stream_itself_that_is_too_large_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    peer = Peer(Silent(), dialled=True, label="the sidecar")
    peer.send(pb.Frame(kind=pb.HOSTED, hosted=pb.Hosted(agents=[pb.HostedAgent(message="x" * MAX_MESSAGE_BYTES)])))
    peer.send(pb.Frame(kind=pb.PING))
    batches = [batch async for batch in batches_of(peer)]
    assert [frame.kind for data in batches for frame in pb.Batch.FromString(data).frames] == [pb.PING]
    assert "the sidecar: not sent: a HOSTED" in caplog.text


async def batches_of(peer: Peer) -> AsyncIterator[bytes]:
    while len(peer.outbox):
        yield await peer.next_batch()
