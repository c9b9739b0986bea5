"""How callers are brought to an Agent: choice of an instance, retries, circuit breaker."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from switchboard.resources.base import Bool, Int, Model, Rule
from switchboard.resources.fields import Seconds

# RFC 9110 token.
HEADER = "^[A-Za-z0-9!#$%&*+.^_|~-]+$"

Strategy = Literal[
    "RoundRobin",
    "WeightedRoundRobin",
    "LeastConnections",
    "ResponseTime",
    "ConsistentHash",
    "Random",
    "WeightedRandom",
]


# A principal as gateways write it; `*` for a whole segment, or for the end of a user's name.
CALLER = (
    r"^(spiffe://[a-z0-9._-]+/ns/([a-z0-9]([-a-z0-9]*[a-z0-9])?|\*)/sa/([a-z0-9]([-a-z0-9.]*[a-z0-9])?|\*)"
    r"|user:([^*]+\*?|\*))$"
)
# Longer than any id of a ServiceAccount, and than the names of users that identity providers give.
Caller = Annotated[str, StringConstraints(min_length=1, max_length=512)]


class LoadBalancing(Model):
    """How an instance is chosen."""

    strategy: Strategy = Field(
        default="LeastConnections",
        description="How to choose among the instances that can serve: RoundRobin, WeightedRoundRobin, "
        "LeastConnections, ResponseTime (latency times calls in flight), ConsistentHash, Random or WeightedRandom.",
    )
    hash_on: Literal["Key", "Header"] = Field(
        default="Key",
        description="What ConsistentHash hashes: Key, the agent id's key; Header, the header that is named.",
    )
    header: Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=HEADER)] | None = Field(
        default=None, description="Header to hash when hashOn is Header."
    )
    key_affinity: Literal["Preferred", "Required", "None"] = Field(
        default="Preferred",
        description="Whether calls with one key stay on one instance: Preferred, unless it is overloaded; Required, "
        "as long as it is ready; None.",
    )

    rules = (
        Rule(
            "(self.hashOn == 'Header') == has(self.header)",
            "loadBalancing.header goes with hashOn: Header, set both or neither",
            lambda balancing: (balancing.hash_on == "Header") == (balancing.header is not None),
        ),
    )


class Retries(Model):
    """What happens to a call that failed and may be tried elsewhere."""

    attempts: Int = Field(
        default=3, description="Tries in all, the first included; 1 switches retries off.", ge=1, le=10
    )
    per_try_timeout_seconds: Seconds | None = Field(
        default=None, description="Time for one try. Without it a try has what is left of the call's time."
    )
    initial_backoff_ms: Int = Field(
        default=50, description="Longest pause before the second try; it doubles.", ge=1, le=60000
    )
    max_backoff_ms: Int = Field(default=4000, description="Longest pause before any try.", ge=1, le=600000)
    idempotent: Bool = Field(
        default=False,
        description="The handler may see a message twice without harm, so a call may be tried again even if it was "
        "perhaps delivered.",
    )

    rules = (
        Rule(
            "self.initialBackoffMs <= self.maxBackoffMs",
            "retries.initialBackoffMs must not be above retries.maxBackoffMs: lower the one or raise the other",
            lambda retries: retries.initial_backoff_ms <= retries.max_backoff_ms,
        ),
    )


class Hedging(Model):
    """One more instance is asked when an answer takes long, and the first answer counts."""

    delay_ms: Int = Field(
        description="Time without an answer until one more instance is asked; the 95th percentile of answers is a good "
        "choice.",
        ge=1,
        le=3600000,
    )
    attempts: Int = Field(
        default=2, description="Instances that may have a call at once, the first included.", ge=2, le=5
    )


class CircuitBreaker(Model):
    """When an instance that keeps failing is left alone."""

    consecutive_failures: Int = Field(default=5, description="Failures in a row that open the circuit.", ge=1, le=1000)
    open_seconds: Int = Field(default=30, description="Time until a call is let through to try.", ge=1, le=3600)
    successes_to_close: Int = Field(
        default=3, description="Successes in a row that close the circuit again.", ge=1, le=100
    )
