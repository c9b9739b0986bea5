"""Agent: an addressable agent with its handler and its routing policy."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from switchboard.resources.agentnode import AgentNodeSpec, is_pool_name
from switchboard.resources.base import Int, Model, NullsDropped, Rule, Unique
from switchboard.resources.fields import (
    DNS_1035,
    VERSION_WORDS,
    Count,
    DnsName,
    LabelValue,
    NodeName,
    Seconds,
    VersionText,
    matches,
)
from switchboard.resources.handler import Capability, Handler, Topic
from switchboard.resources.meta import Conditions, ObjectMeta
from switchboard.resources.policy import CALLER, Caller, CircuitBreaker, Hedging, LoadBalancing, Retries
from switchboard_wire.names import MAX_NAME_LENGTH, RESERVED_TYPES, SEMVER


def is_agent_type(text: str) -> bool:
    """Whether an agent can be addressed by this type."""
    return len(text) <= MAX_NAME_LENGTH and matches(DNS_1035, text) and text not in RESERVED_TYPES


def _type_rule(of: str) -> str:
    reserved = "".join(f" && {of} != '{word}'" for word in sorted(RESERVED_TYPES))
    return f"{of}.size() <= {MAX_NAME_LENGTH} && {of}.matches('{DNS_1035}'){reserved}"


_TYPE_WORDS = (
    f"must be a DNS label: at most {MAX_NAME_LENGTH} lower-case letters, digits and '-', a letter first and "
    f"no '-' last; reserved: {', '.join(sorted(RESERVED_TYPES))}"
)


class LocalReference(Model):
    """Names an AgentNode of the same namespace."""

    name: NodeName = Field(description="Name of the AgentNode, in the Agent's namespace.")


class LabelSelectorRequirement(Model):
    """One requirement on a label."""

    key: Annotated[str, StringConstraints(min_length=1, max_length=317)] = Field(description="Key of the label.")
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"] = Field(
        description="How key and values relate: In, NotIn, Exists or DoesNotExist."
    )
    values: Annotated[tuple[LabelValue, ...], Unique()] = Field(
        default=(), description="For In and NotIn: the values. Empty for Exists and DoesNotExist.", max_length=32
    )

    rules = (
        Rule(
            "self.operator in ['In', 'NotIn'] ? has(self.values) && self.values.size() > 0 "
            ": !has(self.values) || self.values.size() == 0",
            "nodeSelector.matchExpressions: In and NotIn need values, Exists and DoesNotExist take none",
            lambda wanted: (wanted.operator in ("In", "NotIn")) == bool(wanted.values),
        ),
    )


class LabelSelector(Model):
    """Selects AgentNodes by label; all requirements must hold."""

    match_labels: Annotated[Mapping[str, LabelValue], NullsDropped] = Field(
        default={}, description="Labels that the AgentNode must have.", max_length=32
    )
    match_expressions: tuple[LabelSelectorRequirement, ...] = Field(
        default=(), description="Requirements on labels.", max_length=32
    )

    rules = (
        Rule(
            "(has(self.matchLabels) && self.matchLabels.size() > 0) || "
            "(has(self.matchExpressions) && self.matchExpressions.size() > 0)",
            "nodeSelector is empty: name at least one label in matchLabels or matchExpressions",
            lambda selector: bool(selector.match_labels or selector.match_expressions),
        ),
    )


def _placements(spec: "AgentSpec") -> int:
    return sum(placement is not None for placement in (spec.node_ref, spec.node_selector, spec.node))


class AgentSpec(Model):
    """What the agent is, where it runs and how it is reached."""

    type: DnsName | None = Field(
        default=None,
        description="By what the agent is addressed in its namespace. The Agent's name when left out. Immutable.",
    )
    version: VersionText = Field(
        default="1.0.0",
        description="Semantic version. Agents of one type and different versions share the traffic by weight.",
    )
    description: Annotated[str, StringConstraints(max_length=1024)] = Field(
        default="", description="One line that people and other agents read."
    )
    node_ref: LocalReference | None = Field(default=None, description="The AgentNode that hosts the agent.")
    node_selector: LabelSelector | None = Field(
        default=None, description="The AgentNodes that host the agent, by label."
    )
    node: AgentNodeSpec | None = Field(
        default=None, description="An AgentNode of the agent's own, made and deleted with it."
    )
    handler: Handler = Field(
        default=Handler(), description="What answers the messages. Left out: the code registers itself."
    )
    capabilities: Annotated[tuple[Capability, ...], Unique(("name", "version"))] = Field(
        default=(), description="What the agent can do, by which callers find it.", max_length=32
    )
    topics: Annotated[tuple[Topic, ...], Unique(("type", "match"))] = Field(
        default=(), description="Topics to which the agent is subscribed.", max_length=64
    )
    weight: Int = Field(
        default=100,
        description="Share of traffic among the Agents of one type; 0 takes none.",
        ge=0,
        le=1000,
    )
    load_balancing: LoadBalancing = Field(default=LoadBalancing(), description="How an instance is chosen.")
    timeout_seconds: Seconds = Field(default=30, description="Time for a call whose caller names none.")
    retries: Retries = Field(
        default=Retries(), description="What happens to a call that failed and may be tried elsewhere."
    )
    hedging: Hedging | None = Field(
        default=None,
        description="For answers that sometimes take long: ask one more instance. Needs retries.idempotent. Counts "
        "as a retry in the Agent's budget. Not for requests that stream. Left out: no hedging.",
    )
    circuit_breaker: CircuitBreaker = Field(
        default=CircuitBreaker(), description="When an instance that keeps failing is left alone."
    )
    concurrency: Int | None = Field(
        default=None,
        description="Messages of this agent in one host at once. The AgentNode's when left out.",
        ge=1,
        le=10000,
    )
    allowed_callers: Annotated[tuple[Caller, ...], Unique()] = Field(
        default=(),
        description="Who may call the agent: spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/SERVICEACCOUNT, with * for a whole "
        "segment, or user:NAME, with * at its end. Whoever proves to be nobody of them is refused. Empty: everybody "
        "may.",
        max_length=64,
    )
    max_payload_bytes: Int = Field(
        default=4194304, description="Largest message that is taken; larger ones are refused.", ge=1, le=268435456
    )

    rules = (
        Rule(
            _type_rule("self.type").join(("!has(self.type) || (", ")")),
            f"type {_TYPE_WORDS}",
            lambda spec: spec.type is None or is_agent_type(spec.type),
        ),
        Rule(
            f"self.version.matches(r'{SEMVER}')",
            f"version {VERSION_WORDS}",
            lambda spec: matches(SEMVER, spec.version),
        ),
        Rule(
            "[has(self.nodeRef), has(self.nodeSelector), has(self.node)].filter(given, given).size() == 1",
            "exactly one of nodeRef, nodeSelector and node must say where the agent runs: set one, remove the others",
            lambda spec: _placements(spec) == 1,
        ),
        Rule(
            "!has(self.retries.perTryTimeoutSeconds) || self.retries.perTryTimeoutSeconds <= self.timeoutSeconds",
            "retries.perTryTimeoutSeconds must not be above timeoutSeconds: lower the one or raise the other",
            lambda spec: (spec.retries.per_try_timeout_seconds or 0) <= spec.timeout_seconds,
        ),
        Rule(
            "!has(self.hedging) || self.retries.idempotent",
            "hedging shows a message to two instances, which the handler must bear: set retries.idempotent: true, or "
            "remove hedging",
            lambda spec: spec.hedging is None or spec.retries.idempotent,
        ),
        Rule(
            "!has(self.hedging) || self.hedging.delayMs < self.timeoutSeconds * 1000",
            "hedging.delayMs must be below timeoutSeconds: lower the one or raise the other",
            lambda spec: spec.hedging is None or spec.hedging.delay_ms < spec.timeout_seconds * 1000,
        ),
        Rule(
            f"!has(self.allowedCallers) || self.allowedCallers.all(caller, caller.matches(r'{CALLER}'))",
            "allowedCallers: write spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/SERVICEACCOUNT, with * in place of a "
            "namespace or of an account, or user:NAME, with * at its end",
            lambda spec: all(matches(CALLER, caller) for caller in spec.allowed_callers),
        ),
        Rule(
            "!has(self.concurrency) || !has(self.node) || self.concurrency <= self.node.concurrency",
            "concurrency must not be above node.concurrency: lower the one or raise the other",
            lambda spec: spec.concurrency is None or spec.node is None or spec.concurrency <= spec.node.concurrency,
        ),
    )


class AgentStatus(Model):
    """Where the agent is; written by the operator."""

    observed_generation: Count | None = Field(
        default=None, description="metadata.generation that this status is about."
    )
    conditions: Conditions = Field(default=(), description="Accepted, ResolvedRefs and Ready.", max_length=16)
    type: DnsName | None = Field(default=None, description="By what the agent is addressed.")
    nodes: Annotated[tuple[NodeName, ...], Unique()] = Field(
        default=(), description="AgentNodes that host the agent, by name; at most the first 64.", max_length=64
    )
    node: Annotated[str, StringConstraints(max_length=80)] | None = Field(
        default=None, description="The AgentNodes in a few words, for people: writers, or writers +2."
    )
    instances: Count = Field(default=0, description="Instances of these AgentNodes.")
    ready_instances: Count = Field(default=0, description="Instances on which the agent is ready.")


class Agent(Model):
    """An addressable agent: what it is, which AgentNode hosts it and how callers are brought to it."""

    api_version: Literal["switchboard.dev/v1alpha1"] = Field(
        default="switchboard.dev/v1alpha1", description="Group and version."
    )
    kind: Literal["Agent"] = Field(default="Agent", description="Kind of the object.")
    metadata: ObjectMeta = Field(description="Name, namespace, labels and annotations.")
    spec: AgentSpec = Field(description="What the agent is, where it runs and how it is reached.")
    status: AgentStatus = Field(default=AgentStatus(), description="Where the agent is; written by the operator.")

    rules = (
        Rule(
            _type_rule("self.metadata.name").join(("has(self.spec.type) || (", ")")),
            f"metadata.name is the agent's type when spec.type is left out, so it {_TYPE_WORDS}; or set spec.type",
            lambda agent: agent.spec.type is not None or is_agent_type(agent.metadata.name),
        ),
        Rule(
            f"!has(self.spec.node) || (self.metadata.name.size() <= {MAX_NAME_LENGTH} "
            f"&& self.metadata.name.matches('{DNS_1035}'))",
            "metadata.name of an Agent with an inline spec.node names that AgentNode, so it must be a DNS label: "
            f"at most {MAX_NAME_LENGTH} lower-case letters, digits and '-', a letter first and no '-' last",
            lambda agent: agent.spec.node is None or is_pool_name(agent.metadata.name),
        ),
        Rule(
            "(has(self.spec.type) ? self.spec.type : self.metadata.name) == "
            "(has(oldSelf.spec.type) ? oldSelf.spec.type : oldSelf.metadata.name)",
            "spec.type is immutable: delete the Agent and create one of the new type",
            None,
        ),
    )

    @property
    def type(self) -> str:
        """By what the agent is addressed: spec.type, or else its name."""
        return self.spec.type if self.spec.type is not None else self.metadata.name
