"""The JSON documents of the metrics APIs: discovery, OpenAPI, lists of values, refusals. Pure."""

import datetime
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from switchboard_operator.metrics_api.readings import METRICS, Metric, Reading
from switchboard_wire import names

Json = dict[str, Any]

CUSTOM_GROUP: Final = "custom.metrics.k8s.io"
CUSTOM_VERSION: Final = "v1beta2"
EXTERNAL_GROUP: Final = "external.metrics.k8s.io"
EXTERNAL_VERSION: Final = "v1beta1"
VERSIONS: Final[Mapping[str, str]] = {CUSTOM_GROUP: CUSTOM_VERSION, EXTERNAL_GROUP: EXTERNAL_VERSION}

PODS: Final = "pods"
POOLS: Final = f"{names.AGENT_NODES}.{names.GROUP}"
EXTERNAL_PREFIX: Final = names.EXTERNAL_METRIC_PREFIX
# The one label that our metrics have
POOL_LABEL: Final = names.EXTERNAL_METRIC_LABEL


class Refusal(Exception):
    """An answer that is none: an HTTP code with Kubernetes' word for it."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.code, self.reason = code, reason

    def document(self) -> Json:
        """The Status that clients of Kubernetes expect."""
        return {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": str(self),
            "reason": self.reason,
            "code": self.code,
        }


@dataclass(frozen=True, slots=True)
class Measured:
    """What was read of which object, at which moment."""

    namespace: str
    name: str
    metric: Metric
    reading: Reading
    now: datetime.datetime

    def timestamp(self) -> str:
        """When the number was true."""
        then = self.now - datetime.timedelta(seconds=self.reading.age_s)
        return then.strftime("%Y-%m-%dT%H:%M:%SZ")


def quantity(value: float) -> str:
    """A number as a Kubernetes quantity, exact to a thousandth."""
    thousandths = round(value * 1000)
    return str(thousandths // 1000) if thousandths % 1000 == 0 else f"{thousandths}m"


def custom_list(resource: str, measured: Iterable[Measured]) -> Json:
    """A MetricValueList of pods or AgentNodes."""
    kind, version = ("Pod", "v1") if resource == PODS else (names.AGENT_NODE, names.API_VERSION)
    items = [
        {
            "describedObject": {"kind": kind, "namespace": one.namespace, "name": one.name, "apiVersion": version},
            "metric": {"name": one.metric.name, "selector": None},
            "timestamp": one.timestamp(),
            "windowSeconds": int(one.metric.window_s),
            "value": quantity(one.reading.value),
        }
        for one in measured
    ]
    return {
        "kind": "MetricValueList",
        "apiVersion": f"{CUSTOM_GROUP}/{CUSTOM_VERSION}",
        "metadata": {},
        "items": items,
    }


def external_list(measured: Iterable[Measured]) -> Json:
    """An ExternalMetricValueList, a value for each AgentNode."""
    items = [
        {
            "metricName": EXTERNAL_PREFIX + one.metric.name,
            "metricLabels": {POOL_LABEL: one.name},
            "timestamp": one.timestamp(),
            "window": int(one.metric.window_s),
            "value": quantity(one.reading.value),
        }
        for one in measured
    ]
    return {
        "kind": "ExternalMetricValueList",
        "apiVersion": f"{EXTERNAL_GROUP}/{EXTERNAL_VERSION}",
        "metadata": {},
        "items": items,
    }


def resource_list(group: str) -> Json:
    """The resources of one group: the API server asks for it to see whether we live, and clients to find their way."""
    kind = "MetricValueList" if group == CUSTOM_GROUP else "ExternalMetricValueList"
    named = (
        [f"{resource}/{metric}" for resource in (PODS, POOLS) for metric in METRICS]
        if group == CUSTOM_GROUP
        else [EXTERNAL_PREFIX + metric for metric in METRICS]
    )
    resources = [
        {"name": name, "singularName": "", "namespaced": True, "kind": kind, "verbs": ["get"]} for name in sorted(named)
    ]
    version = f"{group}/{VERSIONS[group]}"
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": resources}


def api_group(group: str) -> Json:
    """The versions of one group."""
    version = {"groupVersion": f"{group}/{VERSIONS[group]}", "version": VERSIONS[group]}
    return {"kind": "APIGroup", "apiVersion": "v1", "name": group, "versions": [version], "preferredVersion": version}


def api_group_list(groups: Iterable[str]) -> Json:
    """The groups that are served."""
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [api_group(group) for group in groups]}


_INFO: Final = {"title": "Switchboard metrics", "version": "v1"}


def openapi_v2() -> Json:
    """A description without paths: values have no schema that a user could write by."""
    return {"swagger": "2.0", "info": _INFO, "paths": {}}


def openapi_v3_index(groups: Iterable[str]) -> Json:
    """Where the description of each group is."""
    paths = [f"apis/{group}/{VERSIONS[group]}" for group in groups]
    return {"paths": {path: {"serverRelativeURL": f"/openapi/v3/{path}?hash=1"} for path in paths}}


def openapi_v3() -> Json:
    """A description without paths, in the newer form."""
    return {"openapi": "3.0.0", "info": _INFO, "paths": {}}
