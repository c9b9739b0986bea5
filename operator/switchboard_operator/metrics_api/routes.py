"""What a request asks for: a document that is always the same, or metrics, which need a right. Pure."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

from switchboard_operator.metrics_api.documents import (
    CUSTOM_GROUP,
    EXTERNAL_GROUP,
    EXTERNAL_PREFIX,
    PODS,
    POOLS,
    VERSIONS,
    Json,
    Refusal,
    api_group,
    api_group_list,
    openapi_v2,
    openapi_v3,
    openapi_v3_index,
    resource_list,
)
from switchboard_operator.metrics_api.label_selectors import Matches, parse_selector
from switchboard_operator.metrics_api.readings import METRICS, Metric

ALL: Final = "*"


@dataclass(frozen=True, slots=True)
class Wanted:
    """Metrics of one object, or of all (name ALL) that `selects`; `fits` looks at the labels of the metric itself."""

    group: str
    namespace: str
    resource: str  # PODS or POOLS
    name: str
    metric: Metric
    selects: Matches
    fits: Matches

    def attributes(self) -> Json:
        """The request in the words of an access review."""
        asked: Json = {"namespace": self.namespace, "group": self.group, "version": VERSIONS[self.group]}
        if self.group == EXTERNAL_GROUP:
            return asked | {"verb": "list", "resource": EXTERNAL_PREFIX + self.metric.name}
        # As the API server, which reviews it too, reads the path: the metric is a subresource
        return asked | {"verb": "get", "resource": self.resource, "subresource": self.metric.name, "name": self.name}


def route(path: str, query: Mapping[str, str], groups: Collection[str]) -> Json | Wanted:
    """The document, or what is wanted; raises Refusal. `groups`: those that are served."""
    parts = [unquote(part) for part in path.strip("/").split("/")]
    match parts:
        case ["apis"]:
            return api_group_list(groups)
        case ["openapi", "v2"]:
            return openapi_v2()
        case ["openapi", "v3"]:
            return openapi_v3_index(groups)
        case ["openapi", "v3", "apis", group, version] if _is_served(group, version, groups):
            return openapi_v3()
        case ["apis", group] if group in groups:
            return api_group(group)
        case ["apis", group, version] if _is_served(group, version, groups):
            return resource_list(group)
        case ["apis", group, version, *rest] if _is_served(group, version, groups):
            return _custom(rest, query) if group == CUSTOM_GROUP else _external(rest, query)
    raise Refusal(404, "NotFound", f"there is nothing at {path}")


def _is_served(group: str, version: str, groups: Collection[str]) -> bool:
    return group in groups and VERSIONS.get(group) == version


def _custom(rest: list[str], query: Mapping[str, str]) -> Wanted:
    match rest:
        case ["namespaces", namespace, resource, name, metric] if resource in (PODS, POOLS):
            return Wanted(
                CUSTOM_GROUP,
                namespace,
                resource,
                name,
                _metric(metric),
                _selector(query, "labelSelector"),
                _selector(query, "metricLabelSelector"),
            )
    raise Refusal(404, "NotFound", f"metrics are of {PODS} and {POOLS} in a namespace, not of {'/'.join(rest)}")


def _external(rest: list[str], query: Mapping[str, str]) -> Wanted:
    match rest:
        case ["namespaces", namespace, metric] if metric.startswith(EXTERNAL_PREFIX):
            named = _metric(metric.removeprefix(EXTERNAL_PREFIX))
            fits = _selector(query, "labelSelector")
            return Wanted(EXTERNAL_GROUP, namespace, POOLS, ALL, named, parse_selector(""), fits)
    known = ", ".join(EXTERNAL_PREFIX + name for name in METRICS)
    raise Refusal(404, "NotFound", f"there is no metric {'/'.join(rest)}: {known} are there")


def _metric(name: str) -> Metric:
    if name not in METRICS:
        raise Refusal(404, "NotFound", f"there is no metric {name}: {', '.join(METRICS)} are there")
    return METRICS[name]


def _selector(query: Mapping[str, str], parameter: str) -> Matches:
    try:
        return parse_selector(query.get(parameter, ""))
    except ValueError as error:
        raise Refusal(400, "BadRequest", f"{parameter}: {error}") from error
