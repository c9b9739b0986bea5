"""The models of Agents as the values by which `switchboard_routing.binding` decides."""

from collections.abc import Iterable, Mapping
from typing import Any

from switchboard.resources import Agent, LabelSelector
from switchboard_routing.binding import Claim, Placement, Requirement, Selector, rival_of


def placement_of(agent: Agent) -> Placement:
    """Where an Agent runs."""
    spec = agent.spec
    if spec.node_ref is not None:
        return Placement(spec.node_ref.name)
    if spec.node_selector is not None:
        return Placement(selector=selector_of(spec.node_selector))
    return Placement(agent.metadata.name)  # an inline node is named like its Agent


def selector_of(selector: LabelSelector) -> Selector:
    """A label selector."""
    requirements = (Requirement(w.key, w.operator, tuple(w.values)) for w in selector.match_expressions)
    return Selector(tuple(selector.match_labels.items()), tuple(requirements))


def claim_of(agent: Agent, metadata: Mapping[str, Any]) -> Claim:
    """What an Agent claims. metadata: of its manifest; the model leaves out what the API server has set."""
    created, uid = metadata.get("creationTimestamp", ""), metadata.get("uid", "")
    return Claim(created, agent.metadata.name, uid, agent.spec.version)


def winners(agents: Iterable[tuple[Agent, Claim]]) -> list[Agent]:
    """Of the Agents of one namespace those that have their type and version for themselves."""
    claims: dict[str, list[Claim]] = {}
    found = list(agents)
    for agent, claim in found:
        claims.setdefault(agent.type, []).append(claim)
    return [agent for agent, claim in found if rival_of(claim, claims[agent.type]) is None]
