"""Rights as Kubernetes reviews them: the question and the answer of its SubjectAccessReview. Pure."""

from typing import Final, NamedTuple

from switchboard_identity.reviews import Json, User
from switchboard_wire.errors import ErrorValue, SwitchboardError
from switchboard_wire.names import AGENT_NODES, AGENTS, GROUP
from switchboard_wire.v1 import frames_pb2 as pb

INVOKE: Final = "invoke"
HOST: Final = "host"
GET: Final = "get"
LIST: Final = "list"
WATCH: Final = "watch"

_SCHEME: Final = "bearer "


class Right(NamedTuple):
    """Something that a user may do or not. name: of the object; empty: of all in the namespace. No namespace: all."""

    verb: str
    namespace: str
    name: str = ""
    resource: str = AGENTS


def bearer(header: str) -> str:
    """The token of an Authorization header; empty when it has none."""
    return header[len(_SCHEME) :].strip() if header[: len(_SCHEME)].lower() == _SCHEME else ""


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
