"""What the caller of a handler that raised is told."""

import pytest

from switchboard.host.serving import describe
from switchboard_wire.errors import SwitchboardError, failure, name_of
from switchboard_wire.v1 import frames_pb2 as pb


def raised_again(error: Exception) -> SwitchboardError:
    """The same failure, as the next handler up the chain meets it."""
    told = describe(error)
    return failure(told.code, told.message)


INNER = failure(pb.OVERLOADED, "the queue is full")
LOOP = failure(pb.ROUTING_ERROR, "over 16 hops: a loop of calls?")


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        pytest.param(ValueError("no"), "PROCESSING_ERROR", "ValueError: no", id="an exception by its type"),
        pytest.param(ValueError(), "PROCESSING_ERROR", "ValueError", id="without a text"),
        pytest.param(INNER, "PROCESSING_ERROR", "OVERLOADED: the queue is full", id="a call of its own that failed"),
        pytest.param(
            raised_again(ValueError("no")),
            "PROCESSING_ERROR",
            "PROCESSING_ERROR: ValueError: no",
            id="a handler that it called and that raised",
        ),
        pytest.param(
            raised_again(raised_again(raised_again(ValueError("no")))),
            "PROCESSING_ERROR",
            "PROCESSING_ERROR: ValueError: no",
            id="a long chain, told once",
        ),
        pytest.param(raised_again(raised_again(LOOP)), "ROUTING_ERROR", LOOP.message, id="a loop stays a loop"),
    ],
)
def test_the_caller_is_told(error: Exception, code: str, message: str) -> None:
    told = describe(error)
    assert (name_of(told.code), told.message, told.delivered) == (code, message, pb.DELIVERED_YES)


def test_a_long_text_is_cut() -> None:
    assert len(describe(ValueError("x" * 5000)).message) == 1024
