"""Questions and answers of the review APIs, as values."""

import pytest
from access_fakes import NOW, jwt_of

from switchboard_gateway.access.rights import (
    INVOKE,
    LIST,
    Right,
    User,
    access_review,
    bearer,
    check_shape,
    denied,
    expiry_of,
    is_allowed,
    read_user,
    token_review,
)
from switchboard_wire.errors import Unauthenticated

BOT = User("system:serviceaccount:team:bot", "uid-1", ("system:authenticated",), (("key", ("value",)),))


@pytest.mark.parametrize(
    ("header", "token"),
    [
        pytest.param("Bearer abc", "abc", id="a bearer token"),
        pytest.param("bearer  abc ", "abc", id="whatever the case and the spaces"),
        pytest.param("Basic abc", "", id="another scheme"),
        pytest.param("", "", id="nothing"),
        pytest.param("Bearer", "", id="a scheme alone"),
    ],
)
def test_a_token_is_read_from_its_header(header: str, token: str) -> None:
    assert bearer(header) == token


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


def test_a_right_is_asked_about_with_the_whole_user() -> None:
    spec = access_review(BOT, Right(INVOKE, "team", "echo"))["spec"]
    assert spec == {
        "user": BOT.name,
        "uid": "uid-1",
        "groups": ["system:authenticated"],
        "extra": {"key": ["value"]},
        "resourceAttributes": {
            "group": "switchboard.dev",
            "resource": "agents",
            "verb": "invoke",
            "namespace": "team",
            "name": "echo",
        },
    }


def test_a_right_to_all_names_neither_name_nor_namespace() -> None:
    asked = access_review(BOT, Right(LIST, ""))["spec"]["resourceAttributes"]
    assert asked == {"group": "switchboard.dev", "resource": "agents", "verb": "list"}


@pytest.mark.parametrize(
    ("status", "allowed"),
    [({"allowed": True}, True), ({"allowed": False}, False), ({}, False), ({"allowed": True, "denied": True}, False)],
)
def test_only_a_clear_yes_is_a_yes(status: dict[str, bool], allowed: bool) -> None:
    assert is_allowed({"status": status}) is allowed


def test_a_refusal_names_verb_agent_and_the_rule_that_would_grant_it() -> None:
    error = denied(User("bot"), Right(INVOKE, "team", "echo")).error
    assert error.message == (
        "bot may not invoke Agent 'echo' in namespace 'team': a Role there grants it with the"
        " rule apiGroups [switchboard.dev], resources [agents], verbs [invoke], resourceNames [echo]"
    )
    assert error.details == {"verb": "invoke", "resource": "agents", "namespace": "team", "name": "echo"}


def test_a_token_says_when_it_expires_if_it_says_anything() -> None:
    assert expiry_of(jwt_of("a", NOW + 5)) == NOW + 5
    assert [expiry_of(token) for token in ("opaque", "a.b.c", "a.e30.c", "a.W10.c")] == [None] * 4
