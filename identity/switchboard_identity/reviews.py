"""Whose a token is, as the API server's TokenReview tells it: the question, and how its answer is read. Pure, light."""

import base64
import json
from dataclasses import dataclass, field
from typing import Any, Final

from switchboard_wire.errors import SwitchboardError, failure
from switchboard_wire.v1 import frames_pb2 as pb

_ACCOUNT: Final = "system:serviceaccount:"
# Tokens of Kubernetes are some 1 to 2 KiB
MAX_TOKEN_LENGTH: Final = 12 * 1024

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class User:
    """Whose token it is, in the words of the API server."""

    name: str
    uid: str = ""
    groups: tuple[str, ...] = ()
    extra: tuple[tuple[str, tuple[str, ...]], ...] = field(default=())

    @property
    def account(self) -> tuple[str, str] | None:
        """Namespace and name of a ServiceAccount; None: it is somebody else."""
        namespace, _, name = self.name.removeprefix(_ACCOUNT).partition(":")
        return (namespace, name) if self.name.startswith(_ACCOUNT) and namespace and name else None

    def principal(self, trust_domain: str) -> str:
        """The identity in calls and logs: a ServiceAccount's as its pods have it, anybody else's after `user:`."""
        account = self.account
        return f"user:{self.name}" if account is None else f"spiffe://{trust_domain}/ns/{account[0]}/sa/{account[1]}"


def token_review(token: str, audience: str) -> Json:
    """The question whose token it is. audience: that it must be for; empty: the API server's own."""
    spec: Json = {"token": token} | ({"audiences": [audience]} if audience else {})
    return {"metadata": {}, "spec": spec}


def read_user(answer: Json, audience: str) -> User:
    """Whose token it is. Raises SwitchboardError UNAUTHENTICATED with what is wrong."""
    status = answer.get("status") or {}
    user = status.get("user") or {}
    if not status.get("authenticated") or not user.get("username"):
        raise unauthenticated(_hint(str(status.get("error") or ""), audience))
    if audience and audience not in (status.get("audiences") or ()):
        raise unauthenticated(f"the token is not for the audience {audience!r}")
    extra = tuple(sorted((key, tuple(values)) for key, values in (user.get("extra") or {}).items()))
    return User(user["username"], user.get("uid", ""), tuple(user.get("groups") or ()), extra)


def expiry_of(token: str) -> float | None:
    """When a token that was found good expires, in seconds since the epoch; None when it does not say."""
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        expires = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4))).get("exp")
    except (ValueError, AttributeError):
        return None
    return float(expires) if isinstance(expires, int | float) else None


def check_shape(token: str) -> None:
    """Raise UNAUTHENTICATED for what cannot be a token, before anybody is asked."""
    if not token:
        raise unauthenticated("a bearer token is asked for here, and none came")
    if len(token) > MAX_TOKEN_LENGTH or not (token.isascii() and token.isprintable()) or " " in token:
        raise unauthenticated("what came is no token")


def unauthenticated(reason: str) -> SwitchboardError:
    """The error of somebody who is not known."""
    return failure(pb.UNAUTHENTICATED, reason)


def _hint(said: str, audience: str) -> str:
    """What to do about a token that the API server does not take. Its own words may be long, and are for its log."""
    if "expired" in said:
        return "the token has expired: show a fresh one"
    if "audience" in said:
        return f"the token is not for the audience {audience!r}"
    return "the API server does not know the token" + (f", or not for the audience {audience!r}" if audience else "")
