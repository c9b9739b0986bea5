"""Which AgentNodes an Agent is bound to, and which Agent has a type: as every gateway decides it.

Pure: resources in, names out. The operator decides the same on plain dicts (`switchboard_operator.binding`); a property
test holds the two together.
"""

from collections.abc import Iterable, Mapping

from switchboard.resources.agent import Agent, LabelSelector, LabelSelectorRequirement


def bound_nodes(agent: Agent, nodes: Mapping[str, Mapping[str, str]]) -> frozenset[str]:
    """Names of the AgentNodes that host the agent. nodes: name → labels of those in its namespace that exist.

    An inline node is named like its Agent. A nodeRef counts whether or not the AgentNode exists.
    """
    spec = agent.spec
    if spec.node_ref is not None:
        return frozenset({spec.node_ref.name})
    if spec.node_selector is not None:
        return frozenset(name for name, labels in nodes.items() if selects(spec.node_selector, labels))
    return frozenset({agent.metadata.name})


def selects(selector: LabelSelector, labels: Mapping[str, str]) -> bool:
    """Whether all requirements of a selector hold for the labels; as in apimachinery's labels.Selector."""
    return all(labels.get(key) == value for key, value in selector.match_labels.items()) and all(
        _holds(wanted, labels) for wanted in selector.match_expressions
    )


def _holds(wanted: LabelSelectorRequirement, labels: Mapping[str, str]) -> bool:
    match wanted.operator:
        case "In":
            return labels.get(wanted.key) in wanted.values
        case "NotIn":
            return labels.get(wanted.key) not in wanted.values
        case "Exists":
            return wanted.key in labels
        case _:
            return wanted.key not in labels


def conflict_owners(agents: Iterable[tuple[Agent, str]]) -> dict[str, str]:
    """Names of Agents of one namespace that lost their type and version to an older one → the name of that one.

    agents: each with its creationTimestamp (RFC 3339, so text order is time order); names break ties.
    """
    owners: dict[tuple[str, str], str] = {}
    losers: dict[str, str] = {}
    for agent, _ in sorted(agents, key=lambda pair: (pair[1], pair[0].metadata.name)):
        identity = (agent.type, agent.spec.version)
        owner = owners.setdefault(identity, agent.metadata.name)
        if owner != agent.metadata.name:
            losers[agent.metadata.name] = owner
    return losers
