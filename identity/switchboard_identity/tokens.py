"""What a ServiceAccount token says, once its signature, issuer, audience and expiry have been checked. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import jwt

from switchboard_identity.identities import Claims

# Clocks of the API server and of this machine may differ by so much
CLOCK_SKEW_S: Final = 30.0
# Signatures that API servers make; never "none", and never a shared secret
_ALGORITHMS: Final = frozenset({"RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "PS256", "PS384", "PS512"})
# A token of an API server has under 2 KiB; more is not worth decoding
MAX_TOKEN_BYTES: Final = 16 * 1024
_OPTIONS: Final[Any] = {
    "require": ["exp", "iss", "aud"],
    # By the caller's clock instead
    "verify_exp": False,
    "verify_nbf": False,
    "verify_iat": False,
}


class InvalidToken(Exception):
    """The token proves nothing; the text says why."""


class UnknownKey(InvalidToken):
    """Signed by a key that is not among those known: they may have been renewed."""


@dataclass(frozen=True, slots=True)
class KeySet:
    """The published keys of one API server, by key id."""

    issuer: str
    keys: Mapping[str, jwt.PyJWK]


def build_key_set(issuer: str, keys: Iterable[Mapping[str, Any]]) -> KeySet:
    """The keys of a JWKS that can check a signature of ours; others are left out."""
    found: dict[str, jwt.PyJWK] = {}
    for key in keys:
        try:
            parsed = jwt.PyJWK.from_dict(dict(key))
        except jwt.PyJWTError:  # of a kind that is newer than this library
            continue
        if parsed.algorithm_name in _ALGORITHMS and parsed.key_id:
            found[parsed.key_id] = parsed
    return KeySet(issuer, found)


def key_id_of(token: str) -> str:
    """Which key a token says has signed it. Raises InvalidToken."""
    if len(token) > MAX_TOKEN_BYTES:
        raise InvalidToken("the token is too long")
    try:
        kid = jwt.get_unverified_header(token).get("kid")
    except jwt.PyJWTError as error:
        raise InvalidToken(f"no token: {error}") from error
    if not isinstance(kid, str) or not kid:
        raise InvalidToken("the token names no key")
    return kid


def read_token(token: str, keys: KeySet, audience: str, now: float) -> Claims:
    """The pod that a token was made for. now: seconds since the epoch. Raises InvalidToken, UnknownKey."""
    key = keys.keys.get(key_id_of(token))
    if key is None:
        raise UnknownKey("the token is signed by a key that the API server does not publish")
    try:
        said = jwt.decode(
            token, key.key, algorithms=[key.algorithm_name], audience=audience, issuer=keys.issuer, options=_OPTIONS
        )
    except jwt.PyJWTError as error:
        raise InvalidToken(f"the token does not hold: {error}") from error
    claims = _claims(said)
    if claims.expires + CLOCK_SKEW_S <= now:
        raise InvalidToken("the token has expired")
    if float(said.get("nbf", 0)) > now + CLOCK_SKEW_S:
        raise InvalidToken("the token is not valid yet")
    return claims


def _claims(said: Mapping[str, Any]) -> Claims:
    bound = said.get("kubernetes.io")
    try:
        assert isinstance(bound, dict)
        claims = Claims(
            namespace=str(bound["namespace"]),
            service_account=str(bound["serviceaccount"]["name"]),
            pod=str(bound["pod"]["name"]),
            pod_uid=str(bound["pod"]["uid"]),
            expires=float(said["exp"]),
        )
    except (AssertionError, KeyError, TypeError, ValueError):
        raise InvalidToken("the token is not bound to a pod") from None
    if not claims.pod_uid:
        raise InvalidToken("the token is not bound to a pod")
    return claims
