"""spec.autoscaling as metrics of a HorizontalPodAutoscaler."""

from typing import Any

import pytest
from operator_objects import make_node, make_snapshot

from switchboard_operator.checks import check_node
from switchboard_operator.desired import SCALE_DOWN, SCALE_UP, build_autoscaler
from switchboard_operator.signals import WORK_SIGNALS, Source, build_metrics

WORK = {"cpuUtilization": 0, "memoryUtilization": 0, "inFlightPerInstance": 8}


def test_the_work_is_the_pool_s_total_shared_by_its_instances() -> None:
    node = make_node(autoscaling={**WORK, "queuedPerInstance": 2, "messagesPerSecond": 50})
    described = {"apiVersion": "switchboard.dev/v1alpha1", "kind": "AgentNode", "name": "writers"}
    assert build_metrics(node, Source.CUSTOM) == [
        {
            "type": "Object",
            "object": {
                "describedObject": described,
                "metric": {"name": metric},
                "target": {"type": "AverageValue", "averageValue": value},
            },
        }
        for metric, value in (("in_flight", "8"), ("queued", "2"), ("messages_per_second", "50"))
    ]


def test_where_another_provider_has_the_custom_api_the_external_one_serves() -> None:
    (metric,) = build_metrics(make_node(autoscaling=WORK), Source.EXTERNAL)
    assert metric == {
        "type": "External",
        "external": {
            "metric": {"name": "switchboard_in_flight", "selector": {"matchLabels": {"agentnode": "writers"}}},
            "target": {"type": "AverageValue", "averageValue": "8"},
        },
    }


def test_utilization_stays_beside_the_work() -> None:
    metrics = build_metrics(make_node(autoscaling={"inFlightPerInstance": 8}), Source.CUSTOM)
    assert [metric["type"] for metric in metrics] == ["ContainerResource", "ContainerResource", "Object"]


@pytest.mark.parametrize("signal", WORK_SIGNALS)
def test_a_signal_without_an_api_is_refused_with_the_remedy(signal: str) -> None:
    snapshot = make_snapshot(make_node(autoscaling={signal: 4}))
    fault = check_node(snapshot, Source.NONE)
    assert fault is not None
    assert fault.reason == "UnsupportedSignal"
    assert signal in fault.message
    assert "metricsApi.custom" in fault.message
    assert check_node(snapshot, Source.CUSTOM) is None
    assert check_node(snapshot, Source.EXTERNAL) is None


def test_utilization_needs_no_api() -> None:
    assert check_node(make_snapshot(make_node(autoscaling={"cpuUtilization": 50})), Source.NONE) is None


@pytest.mark.parametrize(
    ("behavior", "expected"),
    [
        pytest.param({}, {"scaleUp": SCALE_UP, "scaleDown": SCALE_DOWN}, id="explicit by default"),
        pytest.param(
            {"scaleDown": {"stabilizationWindowSeconds": 5}},
            {"scaleUp": SCALE_UP, "scaleDown": {"stabilizationWindowSeconds": 5}},
            id="a side of one's own",
        ),
    ],
)
def test_how_fast_a_pool_grows_and_shrinks(behavior: dict[str, Any], expected: dict[str, Any]) -> None:
    manifest = build_autoscaler(make_node(autoscaling={**WORK, "behavior": behavior}), Source.CUSTOM)
    assert manifest["spec"]["behavior"] == expected
