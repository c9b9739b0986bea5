"""Any frames from either end, in any order: nothing raises but ProtocolError, and no slot is lost."""

import asyncio
from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st
from sidecar_ends import assignment
from sidecar_memory import Bench, Recorder

from switchboard_wire.peer import Peer, ProtocolError
from switchboard_wire.v1 import frames_pb2 as pb

kinds = st.sampled_from([pb.OPEN, pb.OPEN, pb.DATA, pb.WINDOW, pb.HALF_CLOSE, pb.CLOSE, pb.CANCEL, pb.PING])
opens = st.builds(
    lambda type_, key, chain, hops, deadline, ack, capability: pb.Open(
        target=pb.Target(type=type_, key=key, capability=capability),
        chain=chain,
        hops=hops,
        deadline_ms=deadline,
        ack=ack,
        source=pb.AgentId(type=type_),
    ),
    st.sampled_from(["a", "b", "nobody", ""]),
    st.sampled_from(["", "k"]),
    st.lists(st.sampled_from(["a", "b/1", "", "/", "nobody"]), max_size=3),
    st.integers(0, 20),
    st.integers(0, 2**32 - 1),
    st.sampled_from([pb.ACK_HANDLED, pb.ACK_ACCEPTED]),
    st.sampled_from(["", "sum"]),
)
frames = st.builds(
    lambda kind, call, end, size, credit, open_: pb.Frame(
        kind=kind, call=call, end=end, data=bytes(size), credit=credit, open=open_
    ),
    kinds,
    st.integers(0, 8),
    st.booleans(),
    st.sampled_from([0, 1, 100_000]),
    st.sampled_from([0, 1, 2**32 - 1]),
    opens,
)
steps = st.lists(st.tuples(st.sampled_from(["gateway", "host"]), frames), max_size=60)


def with_owner(bench: Bench, opens_: Callable[[Peer, pb.Frame], None]) -> Recorder:
    class Owner(Recorder):
        def on_lost(self, peer: Peer) -> None:
            bench.roster.host_left(peer)

    return Owner(opens_)


@settings(deadline=None, max_examples=100)
@given(steps)
def test_no_sequence_of_frames_raises_or_loses_a_slot(sequence: list[tuple[str, pb.Frame]]) -> None:
    asyncio.run(play(sequence))


async def play(sequence: list[tuple[str, pb.Frame]]) -> None:
    bench = Bench(assignment("a", concurrency=1), assignment("b"), concurrency=2, queue_length=2)
    bench.links.append(bench.link)
    bench.host.events = with_owner(bench, bench.outbound.on_open)
    for who, frame in sequence:
        peer = bench.link if who == "gateway" else bench.host
        try:
            peer.dispatch(frame)
        except ProtocolError:
            continue
        admission = bench.deliverer.admission
        assert admission.queued <= admission.queue_length
        assert admission.in_flight >= 0
        # Each call that is known has its two ends, or waits, or was acknowledged
        assert len(bench.link.calls) + len(bench.host.calls) <= 2 * (bench.deliverer.busy + bench.outbound.in_flight)
    bench.host.lose("gone")
    bench.link.lose("gone")
    assert (bench.deliverer.busy, bench.outbound.in_flight, bench.outbound.held) == (0, 0, 0)
    assert all(entry.lane.in_flight == 0 and not entry.lane.waiting for entry in bench.roster.by_name.values())
    assert (bench.link.calls, bench.host.calls) == ({}, {})
