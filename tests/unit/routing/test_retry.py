"""What follows a failed attempt, row by row of the error table."""

import dataclasses

import pytest

from switchboard_routing.policy import RetryPolicy
from switchboard_routing.retry import GIVE_UP, MAX_UNDELIVERED, Decision, Failure, Next, decide
from switchboard_wire.errors import ERROR_TABLE
from switchboard_wire.v1 import frames_pb2 as pb

BASE = Failure(
    code=pb.NODE_UNAVAILABLE,
    delivered=pb.DELIVERED_NO,
    tried=0,
    refused=1,
    idempotent=False,
    others=True,
    remaining_s=10.0,
)
POLICY = RetryPolicy(attempts=3, initial_backoff_s=0.1, max_backoff_s=1.0)
AT_ONCE = Decision(Next.ELSEWHERE)

CASES = {
    "an undelivered call goes elsewhere at once": ({}, AT_ONCE),
    "an undelivered call waits when nobody else is there": ({"others": False}, Decision(Next.HOLD)),
    "a delivered call is not repeated": ({"delivered": pb.DELIVERED_MAYBE, "tried": 1}, GIVE_UP),
    "an idempotent one is, after a pause": (
        {"delivered": pb.DELIVERED_MAYBE, "tried": 1, "idempotent": True},
        Decision(Next.ELSEWHERE, 0.05),
    ),
    "the pause doubles": (
        {"delivered": pb.DELIVERED_MAYBE, "tried": 2, "idempotent": True},
        Decision(Next.ELSEWHERE, 0.1),
    ),
    "attempts are counted": ({"delivered": pb.DELIVERED_MAYBE, "tried": 3, "idempotent": True}, GIVE_UP),
    "no pause beyond the deadline": (
        {"delivered": pb.DELIVERED_MAYBE, "tried": 1, "idempotent": True, "remaining_s": 0.01},
        GIVE_UP,
    ),
    "an overloaded instance sends the call elsewhere": ({"code": pb.OVERLOADED}, AT_ONCE),
    "when all are overloaded the caller learns it": ({"code": pb.OVERLOADED, "others": False}, GIVE_UP),
    "a handler's failure is final": (
        {"code": pb.PROCESSING_ERROR, "delivered": pb.DELIVERED_YES, "tried": 1},
        GIVE_UP,
    ),
    "unless the agent is idempotent": (
        {"code": pb.PROCESSING_ERROR, "delivered": pb.DELIVERED_YES, "tried": 1, "idempotent": True},
        Decision(Next.ELSEWHERE, 0.05),
    ),
    "a deadline is never retried": (
        {"code": pb.DEADLINE_EXCEEDED, "delivered": pb.DELIVERED_MAYBE, "idempotent": True},
        GIVE_UP,
    ),
    "a loop of refusals ends": ({"refused": MAX_UNDELIVERED}, GIVE_UP),
}


@pytest.mark.parametrize(("changes", "expected"), CASES.values(), ids=CASES.keys())
def test_decide(changes: dict[str, object], expected: Decision) -> None:
    assert decide(dataclasses.replace(BASE, **changes), POLICY, lambda: 0.5) == expected  # type: ignore[arg-type]


def test_every_code_has_a_row_and_a_http_status() -> None:
    assert set(ERROR_TABLE) == set(pb.Code.values()) - {pb.OK}
