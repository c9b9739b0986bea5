"""How often a status may be written, by a clock that the test moves."""

import pytest

from switchboard_operator.pacing import AGENT_STATUS_S, AGENT_WRITES_PER_S, NODE_STATUS_S, Pace, is_flip

NODE, AGENT = ("AgentNode", "ns", "writers"), ("Agent", "ns", "summarizer")


@pytest.mark.parametrize(
    ("key", "flip", "agents", "pause"),
    [
        pytest.param(NODE, True, 1, NODE_STATUS_S, id="an AgentNode"),
        pytest.param(NODE, False, 10000, NODE_STATUS_S, id="an AgentNode among many Agents"),
        pytest.param(AGENT, False, 1, AGENT_STATUS_S, id="an Agent"),
        pytest.param(AGENT, False, 10000, 10000 / AGENT_WRITES_PER_S, id="a count of one Agent among many"),
        pytest.param(AGENT, True, 10000, AGENT_STATUS_S, id="a flip of one Agent among many"),
    ],
)
def test_the_second_write_waits(key: tuple[str, str, str], flip: bool, agents: int, pause: float) -> None:
    pace = Pace()
    assert pace.wait_s(key, 100.0, is_flip=flip) <= 0, "the first comes at once"
    for number in range(agents - 1):
        pace.wrote(("Agent", "ns", f"other-{number}"), 0.0)
    pace.wrote(key, 100.0)
    assert pace.wait_s(key, 101.0, is_flip=flip) == pytest.approx(pause - 1.0, rel=0.01)
    assert pace.wait_s(key, 100.0 + pause, is_flip=flip) <= 0
    pace.forget(key)
    assert pace.wait_s(key, 101.0, is_flip=flip) <= 0, "another object of the name is new"


def test_a_flip_is_another_status_or_reason() -> None:
    def told(status: str, reason: str, message: str) -> dict[str, object]:
        return {"conditions": [{"type": "Ready", "status": status, "reason": reason, "message": message}]}

    before = told("True", "Serving", "on 1 of 2")
    assert not is_flip(before, told("True", "Serving", "on 2 of 2") | {"instances": 2})
    assert is_flip(before, told("False", "Serving", "on 1 of 2"))
    assert is_flip(before, told("True", "ScaledToZero", "on 1 of 2"))
    assert is_flip({}, before)
