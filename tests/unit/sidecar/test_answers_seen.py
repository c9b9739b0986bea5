"""What is remembered under idempotency keys, and for how long."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchboard_sidecar.answers_seen import OVERHEAD_BYTES, AnswersSeen, print_of, scope_of
from switchboard_wire.v1 import frames_pb2 as pb


def close(data: bytes = b"") -> pb.Frame:
    return pb.Frame(kind=pb.CLOSE, data=data)


def test_an_answer_is_remembered_until_its_time_is_over() -> None:
    seen = AnswersSeen(keep_s=10)
    seen.remember(b"a", close(b"first"), b"p", 100.0)
    found = seen.find(b"a", 109.9)
    assert found is not None
    assert (pb.Frame.FromString(found.close).data, found.print) == (b"first", b"p")
    assert seen.find(b"a", 110.0) is None
    assert (len(seen), seen.bytes) == (0, 0)


def test_beyond_the_number_the_oldest_is_forgotten() -> None:
    seen = AnswersSeen(max_answers=2)
    for scope in (b"a", b"b", b"c"):
        seen.remember(scope, close(), b"p", 0.0)
    assert [seen.find(scope, 0.0) is not None for scope in (b"a", b"b", b"c")] == [False, True, True]


def test_beyond_the_bytes_the_oldest_are_forgotten_and_one_too_large_is_not_kept() -> None:
    seen = AnswersSeen(max_bytes=3 * OVERHEAD_BYTES)
    seen.remember(b"a", close(), b"p", 0.0)
    seen.remember(b"b", close(), b"p", 0.0)
    seen.remember(b"c", close(b"x" * OVERHEAD_BYTES), b"p", 0.0)
    assert (seen.find(b"a", 0.0), seen.find(b"b", 0.0) is None) == (None, True)
    seen.remember(b"d", close(b"x" * 3 * OVERHEAD_BYTES), b"p", 0.0)
    assert (len(seen), seen.bytes) == (0, 0)


@given(
    st.lists(st.tuples(st.sampled_from([b"a", b"b", b"c", b"d"]), st.integers(0, 900), st.floats(0, 6)), max_size=60),
    st.integers(1, 4),
)
def test_whatever_comes_the_bounds_hold_and_only_young_answers_are_found(
    steps: list[tuple[bytes, int, float]], max_answers: int
) -> None:
    seen = AnswersSeen(max_answers, max_bytes=2000, keep_s=10.0)
    now, latest = 0.0, dict[bytes, tuple[float, int]]()
    for scope, size, pause in steps:
        now += pause
        seen.remember(scope, close(b"x" * size), b"p", now)
        latest[scope] = (now, size)
        assert len(seen) <= max_answers
        assert 0 <= seen.bytes <= 2000
        for other, (when, bytes_) in latest.items():
            found = seen.find(other, now)
            if found is not None:
                assert now - when < 10.0
                assert len(pb.Frame.FromString(found.close).data) == bytes_
        if size + OVERHEAD_BYTES + 20 <= 2000:
            assert seen.find(scope, now) is not None


def opened(**fields: object) -> pb.Open:
    return pb.Open(target=pb.Target(type="a"), idempotency_key="k", **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(opened(principal="eve"), id="another principal"),
        pytest.param(opened(tenant="blue"), id="another tenant"),
        pytest.param(opened(source=pb.AgentId(namespace="n", type="b")), id="another agent that calls"),
        pytest.param(pb.Open(target=pb.Target(type="a", key="x"), idempotency_key="k"), id="another key of the target"),
        pytest.param(pb.Open(target=pb.Target(type="a"), idempotency_key="k2"), id="another idempotency key"),
    ],
)
def test_a_key_is_one_only_within_its_caller_and_target(other: pb.Open) -> None:
    assert scope_of(opened(), "a") != scope_of(other, "a")


def test_an_attempt_and_its_deadline_do_not_make_another_call() -> None:
    assert scope_of(opened(attempt=2, deadline_ms=7, hops=3), "a") == scope_of(opened(), "a")


def test_payload_method_and_type_are_what_a_duplicate_has_in_common() -> None:
    first = pb.Frame(open=opened(method="m"), data=b"x", end=True)
    assert print_of(first) == print_of(pb.Frame(open=opened(method="m", attempt=1), data=b"x", end=True, call=7))
    assert print_of(first) != print_of(pb.Frame(open=opened(method="m"), data=b"y", end=True))
    assert print_of(first) != print_of(pb.Frame(open=opened(), data=b"mx", end=True))
