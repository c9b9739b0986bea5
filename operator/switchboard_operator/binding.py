"""Which Agents run on which AgentNodes, and which Agent of one type and version wins."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from switchboard_operator.objects import Raw, Resource


@dataclass(frozen=True, slots=True, order=True)
class Claim:
    """An Agent's claim to be its type and version in its namespace; the least one wins, so the oldest."""

    created: str
    name: str
    uid: str
    version: str


def type_of(agent: Resource) -> str:
    """By what the Agent is addressed."""
    return str(agent.spec.get("type") or agent.meta.name)


def version_of(agent: Resource) -> str:
    """Version of the Agent; the CRD's default when the API server has not filled it in."""
    return str(agent.spec.get("version") or "1.0.0")


def claim_of(agent: Resource) -> Claim:
    """What this Agent claims."""
    return Claim(agent.meta.created, agent.meta.name, agent.meta.uid, version_of(agent))


def rival_of(agent: Resource, claims: Iterable[Claim]) -> Claim | None:
    """The older Agent of the same type and version, of those of its type and namespace; None when this one wins."""
    own = claim_of(agent)
    older = [claim for claim in claims if claim.version == own.version and claim < own and claim.uid != own.uid]
    return min(older, default=None)


def node_named_by(agent: Resource) -> str:
    """The AgentNode that the Agent names or has inline; empty when it selects by label."""
    if agent.spec.get("node") is not None:
        return agent.meta.name
    return str((agent.spec.get("nodeRef") or {}).get("name", ""))


def selects(selector: Raw, labels: Mapping[str, str]) -> bool:
    """Whether a label selector matches; an empty one matches nothing, as the CRD refuses it."""
    wanted = selector.get("matchLabels") or {}
    expressions = selector.get("matchExpressions") or ()
    if not wanted and not expressions:
        return False
    return all(labels.get(key) == value for key, value in wanted.items()) and all(
        _holds(expression, labels) for expression in expressions
    )


def _holds(expression: Raw, labels: Mapping[str, str]) -> bool:
    key, values = expression["key"], expression.get("values") or ()
    match expression["operator"]:
        case "In":
            return labels.get(key) in values
        case "NotIn":
            return labels.get(key) not in values
        case "Exists":
            return key in labels
        case "DoesNotExist":
            return key not in labels
    return False
