"""What a token proves, and which prove nothing."""

from dataclasses import replace

import jwt
import pytest
from identity_fakes import ISSUER, NOW, TokenOf, key_set

from switchboard_identity.identities import Claims
from switchboard_identity.tokens import InvalidToken, UnknownKey, read_token

GOOD = TokenOf()
KEYS = key_set("key-1", "key-2")


def read(token: str) -> Claims:
    return read_token(token, KEYS, "switchboard", NOW)


def test_a_token_of_the_api_server_names_the_pod() -> None:
    assert read(GOOD.sign()) == Claims("team", "writers", "writers-1", "uid-1", NOW + 3600)
    assert read(GOOD.sign()).spiffe_id("example.org") == "spiffe://example.org/ns/team/sa/writers"


def test_every_published_key_counts() -> None:
    assert read(replace(GOOD, key="key-2").sign()).pod_uid == "uid-1"


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        pytest.param(replace(GOOD, expires=NOW - 31), "expired", id="expired"),
        pytest.param(replace(GOOD, issuer="https://elsewhere"), "issuer", id="of another issuer"),
        pytest.param(replace(GOOD, audience=("https://kubernetes.default.svc",)), "udience", id="for another audience"),
        pytest.param(replace(GOOD, expires=NOW + 7200), "not valid yet", id="from the future"),
        pytest.param(replace(GOOD, extra={"kubernetes.io": {"namespace": "team"}}), "not bound to a pod", id="unbound"),
        pytest.param(replace(GOOD, extra={"kubernetes.io": "x"}), "not bound to a pod", id="bound to nonsense"),
        pytest.param(replace(GOOD, pod_uid=""), "not bound to a pod", id="of a pod without a UID"),
    ],
)
def test_a_token_is_refused_that_is(token: TokenOf, reason: str) -> None:
    with pytest.raises(InvalidToken, match=reason):
        read(token.sign())


def test_a_token_of_an_unknown_key_is_told_apart_because_keys_are_renewed() -> None:
    with pytest.raises(UnknownKey):
        read(replace(GOOD, key="key-3").sign())


def test_a_token_signed_by_another_key_under_a_known_name_is_refused() -> None:
    other = key_set("key-3")
    forged = replace(GOOD, key="key-3").sign()
    keys = type(other)(ISSUER, {"key-3": KEYS.keys["key-1"]})
    with pytest.raises(InvalidToken, match="ignature"):
        read_token(forged, keys, "switchboard", NOW)


@pytest.mark.parametrize("text", ["", "x", "a.b.c", "x" * 20_000], ids=["empty", "short", "dots", "long"])
def test_what_is_no_token_is_refused(text: str) -> None:
    with pytest.raises(InvalidToken):
        read(text)


def test_a_token_without_a_signature_is_refused() -> None:
    unsigned = jwt.encode({"iss": ISSUER, "aud": "switchboard", "exp": NOW + 60}, None, "none", {"kid": "key-1"})
    with pytest.raises(InvalidToken):
        read(unsigned)
