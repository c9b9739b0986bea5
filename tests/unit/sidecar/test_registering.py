"""What code may register beyond the Agents that people declare, and what is said of the rest."""

import pytest

from switchboard_sidecar.registering import MAX_DYNAMIC, MAX_REFUSED, judge_registered
from switchboard_wire.v1 import frames_pb2 as pb

DECLARED = pb.Assignments(
    dynamic=True,
    agents=[pb.Assignment(name="lead", type="lead"), pb.Assignment(name="second", type="other")],
    reserved=["taken"],
)


def judge(*types: str) -> tuple[list[str], dict[str, str]]:
    """The names that may be hosted, and why the others may not."""
    said = pb.Hosted(agents=[pb.HostedAgent(name=type_, type=type_, state=pb.HOSTED_READY) for type_ in types])
    accepted, refused = judge_registered(DECLARED, said)
    assert all(agent.state == pb.HOSTED_FAILED and not agent.type for agent in refused.values())
    return list(accepted), {name: agent.message for name, agent in refused.items()}


def test_code_may_register_a_type_that_none_declares() -> None:
    assert judge("own", "lead") == (["own"], {})


@pytest.mark.parametrize(
    ("type_", "shown", "words"),
    [
        pytest.param("taken", "taken", "declares for another AgentNode", id="declared elsewhere in the namespace"),
        pytest.param(
            "second", "invalid-second", "the name of the Agent of type 'other' here", id="name of an Agent here"
        ),
        pytest.param("My Agent!", "invalid-my-agent", "which is no agent type", id="no type"),
        pytest.param("x" * 80, "invalid-" + "x" * 44, "which is no agent type", id="too long"),
        pytest.param("", "invalid", "which is no agent type", id="nothing at all"),
    ],
)
def test_what_is_refused_is_told_under_a_name_that_status_can_hold(type_: str, shown: str, words: str) -> None:
    accepted, refused = judge(type_, "own")
    assert accepted == ["own"]
    assert list(refused) == [shown]
    assert words in refused[shown]


def test_both_lists_are_bounded() -> None:
    accepted, refused = judge(*(f"a{number}" for number in range(MAX_DYNAMIC + MAX_REFUSED + 5)))
    assert (len(accepted), len(refused)) == (MAX_DYNAMIC, MAX_REFUSED)
    assert all("declare some of them" in message for message in refused.values())
