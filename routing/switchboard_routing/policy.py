"""What routing knows of an Agent: plain values, made from its resource or from what a host announced."""

import re
from dataclasses import dataclass, field
from enum import Enum

from switchboard_routing.callers import compile_callers
from switchboard_wire.limits import DEFAULT_MAX_PAYLOAD_BYTES


class Strategy(Enum):
    """How an instance is chosen among those that could answer."""

    ROUND_ROBIN = "RoundRobin"
    WEIGHTED_ROUND_ROBIN = "WeightedRoundRobin"
    LEAST_CONNECTIONS = "LeastConnections"
    RESPONSE_TIME = "ResponseTime"
    CONSISTENT_HASH = "ConsistentHash"
    RANDOM = "Random"
    WEIGHTED_RANDOM = "WeightedRandom"


class KeyAffinity(Enum):
    """Whether calls with one key go to one instance."""

    REQUIRED = "Required"
    PREFERRED = "Preferred"
    NONE = "None"


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """attempts: in all, the first included."""

    attempts: int = 3
    per_try_timeout_s: float | None = None
    initial_backoff_s: float = 0.05
    max_backoff_s: float = 4.0
    idempotent: bool = False


@dataclass(frozen=True, slots=True)
class HedgingPolicy:
    """delay_s: without an answer until one more instance is asked. attempts: at most under way, the first included."""

    delay_s: float
    attempts: int = 2


@dataclass(frozen=True, slots=True)
class BreakerPolicy:
    """consecutive_failures: that open the circuit of an instance. successes_to_close: while it is half-open."""

    consecutive_failures: int = 5
    open_s: float = 30.0
    successes_to_close: int = 3


@dataclass(frozen=True, slots=True)
class Subscription:
    """A topic's type; prefix: every type that begins so."""

    topic: str
    prefix: bool = False


@dataclass(frozen=True, slots=True)
class Capability:
    """Something that an agent can do; version is semantic."""

    name: str
    version: str = ""
    description: str = ""


@dataclass(frozen=True, slots=True)
class AgentPolicy:
    """One Agent as the gateway routes to it.

    nodes: names of the AgentNodes, in its namespace, whose instances may host it; None: any that announces it.
    hash_header: whose value a consistent hash hashes instead of the key. concurrency: of the Agent in one instance,
    within the instance's own; None: no other limit. allowed_callers: patterns of `callers`; none: everybody may call;
    callers: what they come to. is_timed: an attempt needs a timer of its own; reckoned once.
    """

    namespace: str
    name: str
    type: str
    version: str = ""
    description: str = ""
    nodes: frozenset[str] | None = None
    capabilities: tuple[Capability, ...] = ()
    topics: tuple[Subscription, ...] = ()
    weight: int = 100
    strategy: Strategy = Strategy.LEAST_CONNECTIONS
    key_affinity: KeyAffinity = KeyAffinity.PREFERRED
    hash_header: str = ""
    timeout_s: float = 30.0
    retries: RetryPolicy = field(default_factory=RetryPolicy)
    breaker: BreakerPolicy = field(default_factory=BreakerPolicy)
    hedging: HedgingPolicy | None = None
    concurrency: int | None = None
    max_payload_bytes: int = DEFAULT_MAX_PAYLOAD_BYTES
    allowed_callers: tuple[str, ...] = ()
    callers: re.Pattern[str] | None = field(init=False, compare=False, repr=False, default=None)
    is_timed: bool = field(init=False, compare=False, repr=False, default=False)

    def __post_init__(self) -> None:
        is_timed = self.hedging is not None or self.retries.per_try_timeout_s is not None
        object.__setattr__(self, "is_timed", is_timed)
        object.__setattr__(self, "callers", compile_callers(self.allowed_callers))

    def admits(self, principal: str) -> bool:
        """Whether a caller may call. principal: as it was proved; empty: nothing was."""
        return self.callers is None or self.callers.fullmatch(principal) is not None
