"""Which AgentNodes an Agent is bound to, and which of several Agents has a type: decided here for all.

The operator assigns by it, gateways route by it. Were they to differ, calls would go where no agent is. Each reads its
own form of the resources (plain dicts, models) into these values.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Requirement:
    """One of a selector's expressions. operator: In, NotIn, Exists or DoesNotExist."""

    key: str
    operator: str
    values: tuple[str, ...] = ()

    def holds(self, labels: Mapping[str, str]) -> bool:
        """As apimachinery's labels.Requirement: a label that is missing is in no set."""
        match self.operator:
            case "In":
                return labels.get(self.key) in self.values
            case "NotIn":
                return labels.get(self.key) not in self.values
            case "Exists":
                return self.key in labels
            case "DoesNotExist":
                return self.key not in labels
        return False  # of a newer API: nothing is selected by what is not understood


@dataclass(frozen=True, slots=True)
class Selector:
    """A label selector; all of it must hold. An empty one selects nothing, as the CRD refuses it."""

    labels: tuple[tuple[str, str], ...] = ()
    requirements: tuple[Requirement, ...] = ()

    def selects(self, labels: Mapping[str, str]) -> bool:
        """Whether an AgentNode with these labels is selected."""
        if not self.labels and not self.requirements:
            return False
        return all(labels.get(key) == value for key, value in self.labels) and all(
            requirement.holds(labels) for requirement in self.requirements
        )


@dataclass(frozen=True, slots=True)
class Placement:
    """Where an Agent runs, within its namespace: on the AgentNode that it names or has inline, or on those selected."""

    node: str = ""
    selector: Selector | None = None

    def nodes(self, known: Mapping[str, Mapping[str, str]]) -> frozenset[str]:
        """Names of the AgentNodes. known: name → labels of those that exist; one that is named counts in any case."""
        if self.selector is None:
            return frozenset({self.node})
        return frozenset(name for name, labels in known.items() if self.selector.selects(labels))


@dataclass(frozen=True, slots=True, order=True)
class Claim:
    """An Agent's claim to be its type and version in its namespace; the least one wins, so the oldest.

    created: creationTimestamp in RFC 3339, so that the order of texts is that of times; names break ties.
    """

    created: str
    name: str
    uid: str
    version: str


def rival_of(own: Claim, claims: Iterable[Claim]) -> Claim | None:
    """The claim to which this one loses, of those to its type in its namespace; None when it wins."""
    older = [claim for claim in claims if claim.version == own.version and claim < own and claim.uid != own.uid]
    return min(older, default=None)
