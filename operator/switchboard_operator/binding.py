"""Agents as they were read, as the values by which `switchboard_routing.binding` decides."""

from collections.abc import Iterable, Mapping

from switchboard_operator.objects import Raw, Resource
from switchboard_routing import binding
from switchboard_routing.binding import Claim, Requirement, Selector


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
    return binding.rival_of(claim_of(agent), claims)


def node_named_by(agent: Resource) -> str:
    """The AgentNode that the Agent names or has inline; empty when it selects by label."""
    if agent.spec.get("node") is not None:
        return agent.meta.name
    return str((agent.spec.get("nodeRef") or {}).get("name", ""))


def selects(selector: Raw, labels: Mapping[str, str]) -> bool:
    """Whether a label selector matches."""
    return selector_of(selector).selects(labels)


def selector_of(selector: Raw) -> Selector:
    """A label selector."""
    requirements = [
        Requirement(wanted["key"], wanted["operator"], tuple(wanted.get("values") or ()))
        for wanted in selector.get("matchExpressions") or ()
    ]
    return Selector(tuple((selector.get("matchLabels") or {}).items()), tuple(requirements))
