"""What the operator counts. No label carries a user's text."""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

RECONCILES: Final = Counter(
    "switchboard_operator_reconciles_total", "Reconciles by kind and outcome: ok, retry or error.", ["kind", "outcome"]
)
RECONCILE_SECONDS: Final = Histogram(
    "switchboard_operator_reconcile_seconds",
    "Time of one reconcile.",
    ["kind"],
    buckets=(0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
)
WRITES: Final = Counter("switchboard_operator_api_writes_total", "Writes to the API server.", ["verb", "kind"])
QUEUE_LENGTH: Final = Gauge("switchboard_operator_queue_length", "Objects that wait for a reconcile.")
LEADS: Final = Gauge("switchboard_operator_leader", "1 on the replica that writes.")
WATCH_STARTS: Final = Counter("switchboard_operator_watch_starts_total", "Starts of the watches, the first included.")
STREAMS: Final = Gauge("switchboard_operator_registry_streams", "Sidecars connected to this replica.")
GATEWAYS: Final = Gauge("switchboard_operator_gateways", "Gateways connected to this replica.")
METRICS_REQUESTS: Final = Counter(
    "switchboard_operator_metrics_api_requests_total", "Requests to the metrics APIs by HTTP status.", ["code"]
)
REVIEWS: Final = Counter(
    "switchboard_operator_reviews_total",
    "Questions to the API server's TokenReview about pods: yes, no, or none (no answer).",
    ["review", "answer"],
)
REFUSALS: Final = Counter(
    "switchboard_operator_refusals_total",
    "Streams and questions refused for who makes them, by surface and error code.",
    ["surface", "reason"],
)
HEARTBEATS: Final = Counter("switchboard_operator_registry_heartbeats_total", "Heartbeats received.")
INSTANCES: Final = Gauge("switchboard_operator_instances", "Registered instances by state.", ["state"])
HELD: Final = Gauge("switchboard_operator_held_calls", "Calls that wait for an AgentNode.", ["namespace", "agentnode"])
