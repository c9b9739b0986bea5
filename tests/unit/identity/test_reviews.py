"""Whose a token is: question and answer as values."""

import pytest
from access_fakes import NOW, jwt_of

from switchboard_identity.reviews import User, check_shape, expiry_of, read_user, token_review
from switchboard_wire.errors import Unauthenticated

BOT = User("system:serviceaccount:team:bot", "uid-1", ("system:authenticated",), (("key", ("value",)),))


@pytest.mark.parametrize(
    "token", ["", "a b", "a\nb", "ä", "x" * 20_000], ids=["none", "space", "line", "no ascii", "long"]
)
def test_what_cannot_be_a_token_is_refused_without_a_question(token: str) -> None:
    with pytest.raises(Unauthenticated):
        check_shape(token)


def test_a_token_is_asked_about_for_one_audience_or_for_the_servers_own() -> None:
    assert token_review("t", "switchboard")["spec"] == {"token": "t", "audiences": ["switchboard"]}
    assert token_review("t", "")["spec"] == {"token": "t"}


def test_a_user_is_read_with_all_that_rights_may_depend_on() -> None:
    user = {"username": BOT.name, "uid": "uid-1", "groups": ["system:authenticated"], "extra": {"key": ["value"]}}
    status = {"authenticated": True, "user": user, "audiences": ["switchboard"]}
    assert read_user({"status": status}, "switchboard") == BOT


@pytest.mark.parametrize(
    ("status", "words"),
    [
        pytest.param({"authenticated": False, "error": "token has expired"}, "expired", id="expired"),
        pytest.param({"error": "invalid bearer token"}, "does not know", id="garbage"),
        pytest.param(
            {"authenticated": True, "user": {"username": "a"}}, "audience", id="a server that ignores audiences"
        ),
        pytest.param({}, "does not know", id="nothing at all"),
    ],
)
def test_a_token_that_is_not_good_is_refused_with_the_reason(status: dict[str, object], words: str) -> None:
    with pytest.raises(Unauthenticated, match=words):
        read_user({"status": status}, "switchboard")


@pytest.mark.parametrize(
    ("name", "principal"),
    [
        pytest.param("system:serviceaccount:team:bot", "spiffe://example.org/ns/team/sa/bot", id="a ServiceAccount"),
        pytest.param("jane@example.org", "user:jane@example.org", id="a person"),
        pytest.param("spiffe://example.org/ns/team/sa/bot", "user:spiffe://example.org/ns/team/sa/bot", id="a liar"),
        pytest.param("system:serviceaccount:team", "user:system:serviceaccount:team", id="half a ServiceAccount"),
    ],
)
def test_a_principal_can_be_mistaken_for_no_other(name: str, principal: str) -> None:
    assert User(name).principal("example.org") == principal


def test_a_token_says_when_it_expires_if_it_says_anything() -> None:
    assert expiry_of(jwt_of("a", NOW + 5)) == NOW + 5
    assert [expiry_of(token) for token in ("opaque", "a.b.c", "a.e30.c", "a.W10.c")] == [None] * 4
