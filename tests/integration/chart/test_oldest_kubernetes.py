"""What the chart renders is in the oldest supported Kubernetes."""

from typing import Any

import pytest
from oldest_kubernetes import is_of_kubernetes, unknown_fields

pytestmark = pytest.mark.integration


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"networkPolicy": {"enabled": True}, "gateway": {"auth": "kubernetes", "tls": {"secretName": "public-tls"}}},
        {"watchNamespaces": ["a", "b"], "rbac": {"namespaced": True}, "metricsApi": {"custom": "Never"}},
        {"tls": {"enabled": False}, "metricsApi": {"custom": "Always", "external": "Always"}},
    ],
    ids=["as it is", "locked down", "in two namespaces", "with every metric"],
)
def test_no_object_has_a_field_that_the_oldest_kubernetes_lacks(render: Any, values: dict[str, Any]) -> None:
    manifests = [item for item in render(**values) if is_of_kubernetes(item["apiVersion"])]
    assert len(manifests) > 10
    assert [found for item in manifests for found in unknown_fields(item)] == []
