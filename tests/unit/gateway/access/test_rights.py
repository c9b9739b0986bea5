"""Rights: the question, its answer, and the error without one, as values."""

import pytest

from switchboard_gateway.access.rights import INVOKE, LIST, Right, access_review, bearer, denied, is_allowed
from switchboard_identity.reviews import User

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
