"""Prometheus metrics of the gateway's message path; labels are bounded by the number of Agents, never by keys."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from prometheus_client import REGISTRY, CollectorRegistry

from switchboard_runtime.metrics import Counters, Histogram, MessageMetrics
from switchboard_wire.errors import name_of
from switchboard_wire.v1 import frames_pb2 as pb

# NODE_UNAVAILABLE: of an API server that does not say who somebody is
_REFUSALS: Final = frozenset({pb.UNAUTHENTICATED, pb.PERMISSION_DENIED, pb.NODE_UNAVAILABLE})


@dataclass(slots=True)
class GatewayMetrics:
    calls: Counters
    seconds: dict[tuple[str, ...], Histogram]
    retries: Counters
    budget_spent: Counters
    hedges: Counters
    hedges_won: Counters
    circuits: Counters
    circuit_changes: Counters
    held: Counters
    links: Counters
    sessions: Counters
    cold_starts: dict[tuple[str, ...], Histogram]
    reviews: Counters
    refusals: Counters

    def count_reviews(self, of: str) -> Callable[[str, str], None]:
        """What counts the reviews of `clients` or `pods`: told the review and its answer."""
        return lambda review, answer: self.reviews.add((of, review, answer))

    def count_refusal(self, surface: str, code: int) -> None:
        """Somebody was not let in, or not let do what it asked; of other errors nothing is counted."""
        if code in _REFUSALS:
            self.refusals.add((surface, name_of(code)))

    @staticmethod
    def create(registry: CollectorRegistry = REGISTRY) -> "GatewayMetrics":
        messages = MessageMetrics(registry)
        return GatewayMetrics(
            calls=messages.counter(
                "switchboard_gateway_calls", "Calls that ended, by Agent and error code", "namespace", "agent", "code"
            ),
            seconds=messages.histogram(
                "switchboard_gateway_call_seconds", "Time from a call's arrival to its end", "namespace", "agent"
            ),
            retries=messages.counter(
                "switchboard_gateway_retries", "Attempts after the first, by Agent", "namespace", "agent"
            ),
            hedges=messages.counter(
                "switchboard_gateway_hedges",
                "Attempts beside one that took long, by Agent",
                "namespace",
                "agent",
            ),
            hedges_won=messages.counter(
                "switchboard_gateway_hedges_won",
                "Hedges that answered before the attempt that took long",
                "namespace",
                "agent",
            ),
            budget_spent=messages.counter(
                "switchboard_gateway_retries_over_budget",
                "Retries that were not made because the Agent's retry budget was spent",
                "namespace",
                "agent",
            ),
            circuits=messages.gauge(
                "switchboard_gateway_circuits", "Instances by the state of their circuit", "namespace", "agent", "state"
            ),
            circuit_changes=messages.counter(
                "switchboard_gateway_circuit_changes",
                "Circuits that opened, turned half-open or closed",
                "namespace",
                "agent",
                "state",
            ),
            held=messages.gauge("switchboard_gateway_held_calls", "Calls that wait for an instance"),
            links=messages.gauge("switchboard_gateway_links", "Links with sidecars"),
            sessions=messages.gauge("switchboard_gateway_sessions", "Sessions of clients"),
            cold_starts=messages.histogram(
                "switchboard_cold_start_seconds",
                "Time from the first call that waits for a pool which may sleep to the first instance",
                "namespace",
                "agent",
            ),
            reviews=messages.counter(
                "switchboard_gateway_reviews",
                "Questions to the API server's reviews about clients and pods: yes, no, or none (no answer)",
                "of",
                "review",
                "answer",
            ),
            refusals=messages.counter(
                "switchboard_gateway_refusals",
                "Streams and calls refused for who makes them, by surface and error code",
                "surface",
                "reason",
            ),
        )
