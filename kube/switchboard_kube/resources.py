"""The kinds that the project reads and writes."""

from typing import Final

from switchboard_kube.interface import Resource
from switchboard_wire import names

API_SERVICES: Final = Resource("apiregistration.k8s.io", "v1", "APIService", "apiservices", namespaced=False)
AGENT_NODES: Final = Resource(names.GROUP, names.VERSION, names.AGENT_NODE, names.AGENT_NODES)
AGENTS: Final = Resource(names.GROUP, names.VERSION, names.AGENT, names.AGENTS)
CONFIG_MAPS: Final = Resource("", "v1", "ConfigMap", "configmaps")
DEPLOYMENTS: Final = Resource("apps", "v1", "Deployment", "deployments")
DISRUPTION_BUDGETS: Final = Resource("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets")
ENDPOINT_SLICES: Final = Resource("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices")
EVENTS: Final = Resource("events.k8s.io", "v1", "Event", "events")
HORIZONTAL_AUTOSCALERS: Final = Resource("autoscaling", "v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers")
LEASES: Final = Resource("coordination.k8s.io", "v1", "Lease", "leases")
NAMESPACES: Final = Resource("", "v1", "Namespace", "namespaces", namespaced=False)
PODS: Final = Resource("", "v1", "Pod", "pods")
SECRETS: Final = Resource("", "v1", "Secret", "secrets")
SERVICES: Final = Resource("", "v1", "Service", "services")
SERVICE_ACCOUNTS: Final = Resource("", "v1", "ServiceAccount", "serviceaccounts")
TOKEN_REVIEWS: Final = Resource("authentication.k8s.io", "v1", "TokenReview", "tokenreviews", namespaced=False)
SUBJECT_ACCESS_REVIEWS: Final = Resource(
    "authorization.k8s.io", "v1", "SubjectAccessReview", "subjectaccessreviews", namespaced=False
)
