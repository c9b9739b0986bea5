"""The custom resources of ``switchboard.dev/v1alpha1`` as frozen values.

Purpose: one description of AgentNode and Agent that everything agrees on. The CRDs, the chart's copy of them and
``docs/reference/resources.md`` are generated from these models; the operator, the gateway and the CLI read with them.
Not here: any I/O, any client, any clock. May be imported by every component; imports pydantic and ``switchboard_wire``.
"""

from switchboard.resources.agent import (
    Agent,
    AgentSpec,
    AgentStatus,
    LabelSelector,
    LabelSelectorRequirement,
    LocalReference,
    is_agent_type,
)
from switchboard.resources.agentnode import (
    AgentNode,
    AgentNodeSpec,
    AgentNodeStatus,
    Autoscaling,
    Heartbeat,
    HostedAgent,
    Instance,
    InstanceCounts,
    ScalingBehavior,
    Sidecar,
    Source,
    is_pool_name,
)
from switchboard.resources.base import Model, Rule, explain_faults
from switchboard.resources.handler import Capability, Handler, HttpHandler, PythonHandler, Topic
from switchboard.resources.meta import Condition, ObjectMeta
from switchboard.resources.pod import Container, PodMetadata, PodSpec, PodTemplate, Resources
from switchboard.resources.policy import CircuitBreaker, LoadBalancing, Retries

__all__ = [
    "Agent",
    "AgentNode",
    "AgentNodeSpec",
    "AgentNodeStatus",
    "AgentSpec",
    "AgentStatus",
    "Autoscaling",
    "Capability",
    "CircuitBreaker",
    "Condition",
    "Container",
    "Handler",
    "Heartbeat",
    "HostedAgent",
    "HttpHandler",
    "Instance",
    "InstanceCounts",
    "LabelSelector",
    "LabelSelectorRequirement",
    "LoadBalancing",
    "LocalReference",
    "Model",
    "ObjectMeta",
    "PodMetadata",
    "PodSpec",
    "PodTemplate",
    "PythonHandler",
    "Resources",
    "Retries",
    "Rule",
    "ScalingBehavior",
    "Sidecar",
    "Source",
    "Topic",
    "explain_faults",
    "is_agent_type",
    "is_pool_name",
]
