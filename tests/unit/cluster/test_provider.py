"""Which provider a cluster comes from."""

import pytest
from devcluster.faults import PreconditionUnmet
from devcluster.provider import Situation, choose_provider


@pytest.mark.parametrize(
    ("wish", "docker_answers", "expected"),
    [
        pytest.param(None, True, "kind", id="kind where Docker answers"),
        pytest.param(None, False, "local", id="local where it does not"),
        pytest.param("local", True, "local", id="local when asked for, although Docker answers"),
        pytest.param("current", True, "current", id="the user's own when asked for"),
        pytest.param("kind", True, "kind", id="kind when asked for"),
    ],
)
def test_provider(wish: str | None, docker_answers: bool, expected: str) -> None:
    assert choose_provider(Situation(wish, docker_answers)) == expected


@pytest.mark.parametrize(
    ("wish", "remedy"),
    [
        pytest.param("kind", "start it", id="kind without an engine says to start it"),
        pytest.param("minikube", "use current, kind or local", id="an unknown wish names the known ones"),
    ],
)
def test_a_wish_that_cannot_be_met_ends_in_one_line(wish: str, remedy: str) -> None:
    with pytest.raises(PreconditionUnmet, match=remedy) as raised:
        choose_provider(Situation(wish, docker_answers=False))
    assert "\n" not in str(raised.value)
