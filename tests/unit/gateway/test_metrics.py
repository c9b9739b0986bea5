"""What the gateway tells of reviews and refusals, as Prometheus reads it."""

from prometheus_client import CollectorRegistry, generate_latest

from switchboard_gateway.metrics import GatewayMetrics
from switchboard_wire.v1 import frames_pb2 as pb


def test_reviews_and_refusals_are_told_under_the_names_of_the_reference() -> None:
    registry = CollectorRegistry()
    metrics = GatewayMetrics.create(registry)
    metrics.count_reviews("pods")("token", "yes")
    for _ in range(2):
        metrics.count_refusal("link", pb.UNAUTHENTICATED)
    told = generate_latest(registry).decode()
    assert 'switchboard_gateway_reviews_total{answer="yes",of="pods",review="token"} 1.0' in told
    assert 'switchboard_gateway_refusals_total{reason="UNAUTHENTICATED",surface="link"} 2.0' in told


def test_errors_that_have_nothing_to_do_with_who_calls_are_no_refusals() -> None:
    metrics = GatewayMetrics.create(CollectorRegistry())
    for code in (pb.AGENT_NOT_FOUND, pb.OVERLOADED, pb.VALIDATION_FAILED, pb.INTERNAL_ERROR):
        metrics.count_refusal("rest", code)
    assert metrics.refusals.values == {}
