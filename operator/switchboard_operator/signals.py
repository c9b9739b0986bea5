"""What an autoscaler looks at, from `spec.autoscaling`: utilization of container `agent`, and the work itself. Pure."""

from collections.abc import Mapping
from enum import Enum
from typing import Any, Final

from switchboard_operator.objects import Resource
from switchboard_wire import names

Json = dict[str, Any]

# Field of spec.autoscaling, and the metric of an AgentNode that it speaks of
WORK_SIGNALS: Final[Mapping[str, str]] = {
    "inFlightPerInstance": "in_flight",
    "queuedPerInstance": "queued",
    "messagesPerSecond": "messages_per_second",
}


class Source(Enum):
    """From which of our metrics APIs autoscalers read the work; NONE: both are switched off."""

    NONE = ""
    CUSTOM = "custom"
    EXTERNAL = "external"


def work_signals(node: Resource) -> dict[str, int]:
    """The signals of work that the AgentNode asks for, with the target for each instance."""
    scaling = node.spec.get("autoscaling") or {}
    return {name: scaling[name] for name in WORK_SIGNALS if scaling.get(name) is not None}


def build_metrics(node: Resource, source: Source) -> list[Json]:
    """The `metrics` of the HorizontalPodAutoscaler."""
    scaling = node.spec["autoscaling"]
    utilization = {"cpu": scaling.get("cpuUtilization", 70), "memory": scaling.get("memoryUtilization", 80)}
    resources = [
        {
            "type": "ContainerResource",
            "containerResource": {
                "name": resource,
                "container": names.HOST_CONTAINER,
                "target": {"type": "Utilization", "averageUtilization": percent},
            },
        }
        for resource, percent in utilization.items()
        if percent
    ]
    if source is Source.NONE:
        return resources
    return resources + [_work(node, source, WORK_SIGNALS[name], each) for name, each in work_signals(node).items()]


def _work(node: Resource, source: Source, metric: str, each: int) -> Json:
    """The pool's total, shared by its instances: ceil(total / each) of them are wanted.

    Not a Pods metric, which leaves out pods that are not ready and takes one without a number for idle or for exactly
    loaded: with one or two pods that is most of the answer. A total is as good from one pod as from a hundred.
    """
    target = {"type": "AverageValue", "averageValue": str(each)}
    if source is Source.EXTERNAL:
        selector = {"matchLabels": {names.EXTERNAL_METRIC_LABEL: node.meta.name}}
        named = {"name": names.EXTERNAL_METRIC_PREFIX + metric, "selector": selector}
        return {"type": "External", "external": {"metric": named, "target": target}}
    described = {"apiVersion": names.API_VERSION, "kind": names.AGENT_NODE, "name": node.meta.name}
    return {"type": "Object", "object": {"describedObject": described, "metric": {"name": metric}, "target": target}}
