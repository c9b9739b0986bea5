"""Batches are put together by hand; protobuf's own serialization says what they must be."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchboard_wire.outbox import Outbox, serialize
from switchboard_wire.v1 import frames_pb2 as pb

frames = st.builds(
    pb.Frame,
    kind=st.sampled_from([pb.OPEN, pb.DATA, pb.CLOSE, pb.CANCEL]),
    call=st.integers(0, 2**32 - 1),
    data=st.binary(max_size=300),
    instance=st.text(max_size=30),
)


@given(st.lists(frames, max_size=64))
def test_a_batch_is_what_protobuf_makes_of_it(batch: list[pb.Frame]) -> None:
    assert serialize(batch) == pb.Batch(frames=batch).SerializeToString()


# Around the sizes where the length takes one more byte, and where heads are no longer kept ready
@pytest.mark.parametrize("size", [0, 1, 119, 120, 121, 2040, 2046, 2047, 2048, 16_370, 16_380, 16_390, 3_000_000])
def test_a_frame_of_any_size_is_what_protobuf_makes_of_it(size: int) -> None:
    frame = pb.Frame(kind=pb.DATA, call=1, data=b"x" * size)
    assert serialize([frame, frame]) == pb.Batch(frames=[frame, frame]).SerializeToString()


def test_frames_that_came_in_a_batch_go_on_in_another_with_what_was_changed() -> None:
    came = pb.Batch.FromString(
        pb.Batch(frames=[pb.Frame(kind=pb.DATA, call=n, data=b"x") for n in (1, 3)]).SerializeToString()
    )
    outbox = Outbox()
    for frame in came.frames:
        frame.call += 10
        outbox.append(frame)
    assert [(f.call, f.data) for f in pb.Batch.FromString(outbox.take()).frames] == [(11, b"x"), (13, b"x")]
