"""Which principals a list of callers lets in."""

import pytest

from switchboard_routing.policy import AgentPolicy

BOT = "spiffe://cluster.local/ns/team/sa/bot"


def admits(*patterns: str, principal: str = BOT) -> bool:
    return AgentPolicy("default", "echo", "echo", allowed_callers=patterns).admits(principal)


def test_without_a_list_everybody_is_let_in() -> None:
    assert admits()
    assert admits(principal="")


@pytest.mark.parametrize(
    ("pattern", "principal"),
    [
        pytest.param(BOT, BOT, id="an account by its id"),
        pytest.param("spiffe://cluster.local/ns/team/sa/*", BOT, id="every account of a namespace"),
        pytest.param("spiffe://cluster.local/ns/*/sa/bot", BOT, id="an account in any namespace"),
        pytest.param("spiffe://cluster.local/ns/*/sa/*", BOT, id="every account"),
        pytest.param("user:jane@example.org", "user:jane@example.org", id="a user"),
        pytest.param("user:*", "user:jane@example.org", id="every user"),
        pytest.param("user:https://id.example.org#*", "user:https://id.example.org#jane", id="users of one provider"),
    ],
)
def test_a_caller_that_fits_is_let_in(pattern: str, principal: str) -> None:
    assert admits(pattern, principal=principal)
    assert admits("user:nobody", pattern, principal=principal), "any of several is enough"


@pytest.mark.parametrize(
    ("pattern", "principal"),
    [
        pytest.param(BOT, "", id="nobody proven"),
        pytest.param("user:*", "", id="nobody proven, and every user is allowed"),
        pytest.param("user:*", "user:", id="a user without a name"),
        pytest.param(BOT, BOT + "2", id="a name that only begins so"),
        pytest.param(BOT, "x" + BOT, id="a name that only ends so"),
        pytest.param(BOT, BOT + "\n", id="a line more"),
        pytest.param("spiffe://cluster.local/ns/team/sa/*", "spiffe://cluster.local/ns/teams/sa/bot", id="a namespace"),
        pytest.param("spiffe://cluster.local/ns/*/sa/bot", "spiffe://cluster.local/ns/a/b/sa/bot", id="two segments"),
        pytest.param("spiffe://cluster.local/ns/*/sa/*", "spiffe://clusterxlocal/ns/a/sa/b", id="a dot is a dot"),
        pytest.param("spiffe://cluster.local/ns/*/sa/*", "user:" + BOT, id="a user called as an account"),
        pytest.param("user:jane", "user:jane2", id="a user whose name only begins so"),
        pytest.param("user:*", BOT, id="an account is no user"),
    ],
)
def test_a_caller_that_does_not_fit_is_not(pattern: str, principal: str) -> None:
    assert not admits(pattern, principal=principal)
