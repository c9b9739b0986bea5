"""AgentNode: a pool of identical worker pods."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from switchboard.resources.base import Bool, Int, JsonObject, Model, Rule, Unique
from switchboard.resources.fields import DNS_1035, Count, DnsName, Image, LabelValue, ObjectName, Timestamp, matches
from switchboard.resources.meta import MAX_MESSAGE_LENGTH, Conditions, ObjectMeta
from switchboard.resources.pod import PodTemplate, Resources
from switchboard_wire.names import CODE_FOLDER, HOST_CONTAINER, MAX_NAME_LENGTH

# A gateway holds one link per instance: beyond some thousands that needs subsets, which do not exist yet.
MAX_REPLICAS = 5000
# The listed instances must fit an object of 1.5 MiB with all that they say of their agents.
MAX_INSTANCES = 200
MAX_HOSTED_AGENTS = 64

State = Literal["Starting", "Up", "Degraded", "Draining", "Down"]
HostedState = Literal["Ready", "Loading", "Failed"]
Activity = Literal["Idle", "Busy", "Saturated"]


def is_pool_name(name: str) -> bool:
    """Whether an AgentNode, its Services and its pods can be called this."""
    return len(name) <= MAX_NAME_LENGTH and matches(DNS_1035, name)


class Source(Model):
    """Where the agents' code comes from when it is not in the image."""

    config_map: ObjectName = Field(
        description=f"ConfigMap whose keys are Python files; mounted at {CODE_FOLDER}, which is on the host's sys.path."
    )


class ScalingBehavior(Model):
    """How fast the autoscaler moves; as `behavior` of a HorizontalPodAutoscaler, which gets it as it is."""

    scale_up: Annotated[JsonObject, Field(max_length=8)] | None = Field(
        default=None, description="Rules for adding instances."
    )
    scale_down: Annotated[JsonObject, Field(max_length=8)] | None = Field(
        default=None, description="Rules for removing instances."
    )


class Autoscaling(Model):
    """Between which bounds and on which signals the pool grows and shrinks."""

    min_replicas: Int = Field(
        default=2,
        description="Fewest instances. 0 lets the pool sleep; the first call wakes it.",
        ge=0,
        le=MAX_REPLICAS,
    )
    max_replicas: Int = Field(default=10, description="Most instances.", ge=1, le=MAX_REPLICAS)
    idle_seconds: Int = Field(
        default=300,
        description="Seconds without any message after which a pool with minReplicas 0 sleeps.",
        ge=1,
        le=86400,
    )
    cpu_utilization: Int = Field(
        default=70,
        description=f"CPU of container {HOST_CONTAINER} to aim at, in percent of its request; 0 for none.",
        ge=0,
        le=1000,
    )
    memory_utilization: Int = Field(
        default=80,
        description=f"Memory of container {HOST_CONTAINER} to aim at, in percent of its request; 0 for none.",
        ge=0,
        le=1000,
    )
    in_flight_per_instance: Int | None = Field(
        default=None, description="Messages inside the host to aim at, per instance.", ge=1, le=100000
    )
    queued_per_instance: Int | None = Field(
        default=None, description="Messages waiting in the sidecar to aim at, per instance.", ge=1, le=100000
    )
    messages_per_second: Int | None = Field(
        default=None, description="Messages a second to aim at, per instance.", ge=1, le=1000000
    )
    behavior: ScalingBehavior = Field(
        default=ScalingBehavior(), description="How fast the pool grows and shrinks, as in a HorizontalPodAutoscaler."
    )

    rules = (
        Rule(
            "self.minReplicas <= self.maxReplicas",
            "autoscaling.minReplicas must not be above autoscaling.maxReplicas: lower the one or raise the other",
            lambda scaling: scaling.min_replicas <= scaling.max_replicas,
        ),
        Rule(
            "self.cpuUtilization > 0 || self.memoryUtilization > 0 || has(self.inFlightPerInstance) "
            "|| has(self.queuedPerInstance) || has(self.messagesPerSecond)",
            "autoscaling has no signal left: set cpuUtilization, memoryUtilization, inFlightPerInstance, "
            "queuedPerInstance or messagesPerSecond, or use replicas instead of autoscaling",
            lambda scaling: (
                scaling.cpu_utilization > 0
                or scaling.memory_utilization > 0
                or scaling.in_flight_per_instance is not None
                or scaling.queued_per_instance is not None
                or scaling.messages_per_second is not None
            ),
        ),
    )


class Heartbeat(Model):
    """How the operator notices that an instance is in trouble."""

    interval_seconds: Int = Field(default=2, description="Time between two heartbeats of a sidecar.", ge=1, le=60)
    missed_until_degraded: Int = Field(default=3, description="Heartbeats missed until Degraded.", ge=1, le=100)
    missed_until_down: Int = Field(default=5, description="Heartbeats missed until Down.", ge=2, le=200)

    rules = (
        Rule(
            "self.missedUntilDegraded < self.missedUntilDown",
            "heartbeat.missedUntilDegraded must be below heartbeat.missedUntilDown: lower the one or raise the other",
            lambda heartbeat: heartbeat.missed_until_degraded < heartbeat.missed_until_down,
        ),
    )


class Sidecar(Model):
    """The sidecar of the pods."""

    image: Image | None = Field(
        default=None, description="Image of the sidecar. The operator's own release when left out."
    )
    resources: Resources = Field(default=Resources(), description="Requests and limits of the sidecar.")
    upgrade_policy: Literal["OnTemplateChange", "Rolling"] = Field(
        default="OnTemplateChange",
        description="When a new release of the operator reaches the pods: OnTemplateChange waits for the next change "
        "of the template; Rolling replaces the pods, one pool after the other.",
    )


class AgentNodeSpec(Model):
    """What the pool should be."""

    replicas: Int = Field(
        default=1,
        description="Number of instances. Leave it out under autoscaling, which sets it through /scale.",
        ge=0,
        le=MAX_REPLICAS,
    )
    source: Source | None = Field(
        default=None,
        description="Where the agents' code comes from when it is not in the image: no image build is needed.",
    )
    template: PodTemplate = Field(
        default=PodTemplate(),
        description=f"Template of the pods. Container {HOST_CONTAINER} is the host, the stock image by default.",
    )
    autoscaling: Autoscaling | None = Field(
        default=None,
        description="Bounds and signals of the autoscaler. Without it the pool has a fixed number of replicas.",
    )
    concurrency: Int = Field(default=16, description="Messages inside the host at once, per instance.", ge=1, le=10000)
    queue_length: Int = Field(
        default=100,
        description="Messages that wait in the sidecar beyond concurrency; further ones are refused as OVERLOADED.",
        ge=0,
        le=100000,
    )
    weight: Int = Field(
        default=100,
        description="Share of traffic among the pools of an Agent, for weighted strategies.",
        ge=0,
        le=1000,
    )
    drain_seconds: Int = Field(
        default=30,
        description="Time for messages in flight when a pod stops; its grace period is 15 s longer.",
        ge=0,
        le=86400,
    )
    heartbeat: Heartbeat = Field(
        default=Heartbeat(), description="How the operator notices that an instance is in trouble."
    )
    registration: Literal["Declared", "Dynamic"] = Field(
        default="Declared",
        description="Which agents the pool may host: Declared, those of Agents bound to it; Dynamic, also those that "
        "its code registers and no Agent declares.",
    )
    spread: Literal["Zone", "Node", "None"] = Field(
        default="Zone", description="Over what the instances are spread: Zone, Node or None."
    )
    sidecar: Sidecar = Field(default=Sidecar(), description="The sidecar of the pods.")


class HostedAgent(Model):
    """An agent as one instance has it."""

    name: DnsName = Field(description="Type of the agent.")
    state: HostedState = Field(description="Ready, Loading or Failed.")
    message: Annotated[str, StringConstraints(max_length=MAX_MESSAGE_LENGTH)] = Field(
        default="", description="Why, when it failed."
    )


class Instance(Model):
    """One pod of the pool, as it registered."""

    name: ObjectName = Field(description="Name of the pod.")
    pod_uid: Annotated[str, StringConstraints(max_length=64)] | None = Field(
        default=None, description="UID of the pod."
    )
    address: Annotated[str, StringConstraints(max_length=64)] | None = Field(
        default=None, description="IP address of the pod."
    )
    zone: LabelValue | None = Field(default=None, description="Zone of its Kubernetes node.")
    node_name: ObjectName | None = Field(default=None, description="Its Kubernetes node.")
    state: State = Field(description="Starting, Up, Degraded, Draining or Down.")
    since: Timestamp = Field(description="Since when it is in this state.")
    activity: Activity = Field(default="Idle", description="Idle, Busy or Saturated; moves slowly on purpose.")
    # Not merged by name: the API server would note each field of each of a thousand, and tell every watcher so
    agents: tuple[HostedAgent, ...] = Field(
        default=(),
        description="Agents that it hosts, those that failed first; at most 64, and 1,000 in the whole pool.",
        max_length=MAX_HOSTED_AGENTS,
    )
    truncated: Bool = Field(default=False, description="It hosts more agents than are listed.")
    version: Annotated[str, StringConstraints(max_length=64)] | None = Field(
        default=None, description="Release of its sidecar."
    )


class InstanceCounts(Model):
    """How many instances are in each state, those that are not listed included."""

    starting: Count = Field(default=0, description="Instances that start.")
    up: Count = Field(default=0, description="Instances that serve.")
    degraded: Count = Field(default=0, description="Instances that missed heartbeats.")
    draining: Count = Field(default=0, description="Instances that finish what they have and take nothing new.")
    down: Count = Field(default=0, description="Instances that are lost.")


class AgentNodeStatus(Model):
    """What the pool is; written by the operator."""

    observed_generation: Count | None = Field(
        default=None, description="metadata.generation that this status is about."
    )
    conditions: Conditions = Field(default=(), description="Accepted, Progressing and Ready.", max_length=16)
    replicas: Count = Field(default=0, description="Pods that exist.")
    ready_replicas: Count = Field(default=0, description="Pods that are ready.")
    selector: Annotated[str, StringConstraints(max_length=1024)] | None = Field(
        default=None, description="Label selector of the pods, for autoscalers."
    )
    agents: Count = Field(default=0, description="Agents bound to the pool.")
    counts: InstanceCounts = Field(default=InstanceCounts(), description="Registered instances by state.")
    activity: Activity = Field(
        default="Idle",
        description="Saturated when every instance that serves is; Busy when any has work; else Idle. Moves slowly.",
    )
    instances: Annotated[tuple[Instance, ...], Unique(("name",))] = Field(
        default=(), description="Registered instances, the unhealthy and the newest first.", max_length=MAX_INSTANCES
    )
    truncated: Bool = Field(default=False, description=f"There are more than the {MAX_INSTANCES} instances listed.")


class AgentNode(Model):
    """A pool of identical worker pods that host agents, each with a sidecar that connects it to every gateway."""

    api_version: Literal["switchboard.dev/v1alpha1"] = Field(
        default="switchboard.dev/v1alpha1", description="Group and version."
    )
    kind: Literal["AgentNode"] = Field(default="AgentNode", description="Kind of the object.")
    metadata: ObjectMeta = Field(description="Name, namespace, labels and annotations.")
    spec: AgentNodeSpec = Field(default=AgentNodeSpec(), description="What the pool should be.")
    status: AgentNodeStatus = Field(default=AgentNodeStatus(), description="What the pool is; written by the operator.")

    rules = (
        Rule(
            f"self.metadata.name.size() <= {MAX_NAME_LENGTH} && self.metadata.name.matches('{DNS_1035}')",
            f"metadata.name of an AgentNode must be a DNS label: at most {MAX_NAME_LENGTH} lower-case letters, digits "
            "and '-', a letter first and no '-' last, because Services and pods are named after it",
            lambda node: is_pool_name(node.metadata.name),
        ),
    )
