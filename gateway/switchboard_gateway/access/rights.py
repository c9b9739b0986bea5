"""Users and rights as Kubernetes reviews them: questions and answers of its two review APIs. Pure."""

import base64
import json
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from switchboard_wire.errors import ErrorValue, SwitchboardError, failure
from switchboard_wire.names import AGENT_NODES, AGENTS, GROUP
from switchboard_wire.v1 import frames_pb2 as pb

INVOKE: Final = "invoke"
HOST: Final = "host"
GET: Final = "get"
LIST: Final = "list"
WATCH: Final = "watch"

_ACCOUNT: Final = "system:serviceaccount:"
# Tokens of Kubernetes are some 1 to 2 KiB
MAX_TOKEN_LENGTH: Final = 12 * 1024
_SCHEME: Final = "bearer "

Json = dict[str, Any]


class Right(NamedTuple):
    """Something that a user may do or not. name: of the object; empty: of all in the namespace. No namespace: all."""

    verb: str
    namespace: str
    name: str = ""
    resource: str = AGENTS


@dataclass(frozen=True, slots=True)
class User:
    """Whose token it is, in the words of the API server."""

    name: str
    uid: str = ""
    groups: tuple[str, ...] = ()
    extra: tuple[tuple[str, tuple[str, ...]], ...] = field(default=())

    def principal(self, trust_domain: str) -> str:
        """The identity in calls and logs: a ServiceAccount's as its pods have it, anybody else's after `user:`."""
        namespace, _, account = self.name.removeprefix(_ACCOUNT).partition(":")
        if self.name.startswith(_ACCOUNT) and namespace and account:
            return f"spiffe://{trust_domain}/ns/{namespace}/sa/{account}"
        return f"user:{self.name}"


def bearer(header: str) -> str:
    """The token of an Authorization header; empty when it has none."""
    return header[len(_SCHEME) :].strip() if header[: len(_SCHEME)].lower() == _SCHEME else ""


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


def access_review(user: User, right: Right) -> Json:
    """The question whether a user has a right."""
    attributes = {"group": GROUP, "resource": right.resource, "verb": right.verb}
    attributes |= {"namespace": right.namespace} if right.namespace else {}
    attributes |= {"name": right.name} if right.name else {}
    spec: Json = {"user": user.name, "groups": list(user.groups), "resourceAttributes": attributes}
    if user.uid:
        spec["uid"] = user.uid
    if user.extra:
        spec["extra"] = {key: list(values) for key, values in user.extra}
    return {"metadata": {}, "spec": spec}


def is_allowed(answer: Json) -> bool:
    """What the API server says to an access review."""
    status = answer.get("status") or {}
    return bool(status.get("allowed")) and not status.get("denied")


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
    """The error of a client that is not known."""
    return failure(pb.UNAUTHENTICATED, reason)


def denied(user: User, right: Right) -> SwitchboardError:
    """The error of a client without a right, with the rule that would grant it."""
    place = f" in namespace {right.namespace!r}" if right.namespace else ""
    kind = {AGENTS: "Agent", AGENT_NODES: "AgentNode"}.get(right.resource, right.resource)
    what = f"{kind} {right.name!r}" if right.name else right.resource
    role = "a Role there" if right.namespace else "a ClusterRole"
    rule = f"apiGroups [{GROUP}], resources [{right.resource}], verbs [{right.verb}]"
    rule += f", resourceNames [{right.name}]" if right.name else ""
    text = f"{user.name} may not {right.verb} {what}{place}: {role} grants it with the rule {rule}"
    details = {"verb": right.verb, "resource": right.resource, "namespace": right.namespace, "name": right.name}
    return SwitchboardError(ErrorValue(pb.PERMISSION_DENIED, text, details={k: v for k, v in details.items() if v}))


def _hint(said: str, audience: str) -> str:
    """What to do about a token that the API server does not take. Its own words may be long, and are for its log."""
    if "expired" in said:
        return "the token has expired: show a fresh one"
    if "audience" in said:
        return f"the token is not for the audience {audience!r}"
    return "the API server does not know the token" + (f", or not for the audience {audience!r}" if audience else "")
