"""The pod template of an AgentNode: typed where rules must see, preserved everywhere else.

What is only preserved is checked by the API server when the operator applies the Deployment.
"""

from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, StringConstraints

from switchboard.resources.base import Int, JsonObject, Model, Rule, Unique
from switchboard.resources.fields import AnnotationMap, DnsName, Image, LabelMap, ObjectName, QuantityMap
from switchboard_wire.names import HOST_CONTAINER, OPS_PORT, RESERVED_PREFIX

Argument = Annotated[str, StringConstraints(max_length=4096)]
Preserved = Annotated[JsonObject, Field(max_length=64)]


class Resources(Model):
    """Compute resources of a container."""

    model_config = ConfigDict(extra="allow")

    requests: QuantityMap = Field(default={}, description="What the scheduler sets aside, for example cpu: 250m.")
    limits: QuantityMap = Field(default={}, description="What the container may use at most.")


class ContainerPort(Model):
    """A port that a container listens on."""

    model_config = ConfigDict(extra="allow")

    name: Annotated[str, StringConstraints(max_length=15)] | None = Field(default=None, description="Name of the port.")
    container_port: Int = Field(description="Number of the port.", ge=1, le=65535)
    protocol: Literal["TCP", "UDP", "SCTP"] | None = Field(default=None, description="TCP when left out.")


class Lifecycle(Model):
    """Hooks of a container."""

    model_config = ConfigDict(extra="allow")

    pre_stop: Preserved | None = Field(
        default=None,
        description=f"Runs before the container stops. Refused on {HOST_CONTAINER}: the drain is there.",
    )


class Container(Model):
    """A container of the pod; fields that are not listed here are passed on as they are."""

    model_config = ConfigDict(extra="allow")

    name: DnsName = Field(description=f"Name of the container. {HOST_CONTAINER} is the host of the agents.")
    image: Image | None = Field(
        default=None, description=f"Image. The stock host image when {HOST_CONTAINER} names none."
    )
    command: tuple[Argument, ...] = Field(default=(), description="Replaces the image's entrypoint.", max_length=64)
    args: tuple[Argument, ...] = Field(default=(), description="Arguments of the command.", max_length=128)
    ports: tuple[ContainerPort, ...] = Field(
        default=(), description=f"Ports that the container listens on; {OPS_PORT} is the sidecar's.", max_length=32
    )
    resources: Resources = Field(
        default=Resources(),
        description=f"Requests and limits. {HOST_CONTAINER} requests 250m and 256Mi when it names none.",
    )
    lifecycle: Lifecycle = Field(default=Lifecycle(), description="Hooks of the container.")


class Volume(Model):
    """A volume of the pod; everything but its name is passed on as it is."""

    model_config = ConfigDict(extra="allow")

    name: DnsName = Field(description="Name of the volume.")


class PodMetadata(Model):
    """Labels and annotations of the pods."""

    model_config = ConfigDict(extra="allow")

    labels: LabelMap = Field(default={}, description="Labels of the pods, beside the operator's own.")
    annotations: AnnotationMap = Field(default={}, description="Annotations of the pods, beside the operator's own.")


def _takes_reserved_name(named: Iterable[Container | Volume]) -> bool:
    return any(item.name.startswith(RESERVED_PREFIX) for item in named)


def _takes_operations_port(containers: Iterable[Container]) -> bool:
    return any(port.container_port == OPS_PORT for container in containers for port in container.ports)


def _none_reserved(items: str, kind: str) -> str:
    return f"!has(self.{items}) || self.{items}.all({kind}, !{kind}.name.startsWith('{RESERVED_PREFIX}'))"


class PodSpec(Model):
    """The pods' own part of the template."""

    model_config = ConfigDict(extra="allow")

    containers: Annotated[tuple[Container, ...], Unique(("name",))] = Field(
        default=(),
        description=f"Containers of the pods. {HOST_CONTAINER} is added when it is not among them.",
        max_length=16,
    )
    init_containers: Annotated[tuple[Container, ...], Unique(("name",))] = Field(
        default=(), description="Containers that run before, or beside when they restart Always.", max_length=16
    )
    volumes: Annotated[tuple[Volume, ...], Unique(("name",))] = Field(
        default=(), description="Volumes, beside the operator's own.", max_length=64
    )
    service_account_name: ObjectName | None = Field(
        default=None, description="ServiceAccount of the pods. The operator makes one without API rights when left out."
    )

    rules = (
        Rule(
            _none_reserved("containers", "c"),
            f"template.spec.containers: names that begin with {RESERVED_PREFIX} are the operator's, "
            "choose another name",
            lambda pod: not _takes_reserved_name(pod.containers),
        ),
        Rule(
            _none_reserved("initContainers", "c"),
            f"template.spec.initContainers: names that begin with {RESERVED_PREFIX} are the operator's, "
            "choose another name",
            lambda pod: not _takes_reserved_name(pod.init_containers),
        ),
        Rule(
            f"!has(self.initContainers) || self.initContainers.all(c, c.name != '{HOST_CONTAINER}')",
            f"template.spec.initContainers: the name {HOST_CONTAINER} is the host's, "
            "move the container to template.spec.containers or choose another name",
            lambda pod: all(container.name != HOST_CONTAINER for container in pod.init_containers),
        ),
        Rule(
            _none_reserved("volumes", "v"),
            f"template.spec.volumes: names that begin with {RESERVED_PREFIX} are the operator's, choose another name",
            lambda pod: not _takes_reserved_name(pod.volumes),
        ),
        Rule(
            f"!has(self.containers) || self.containers.all(c, c.name != '{HOST_CONTAINER}' || !has(c.lifecycle) "
            "|| !has(c.lifecycle.preStop))",
            f"template.spec.containers: preStop of container {HOST_CONTAINER} is the operator's, which drains the "
            "agents there; remove it and clean up in the agent's own shutdown",
            lambda pod: all(
                container.name != HOST_CONTAINER or container.lifecycle.pre_stop is None for container in pod.containers
            ),
        ),
        Rule(
            "!has(self.containers) || self.containers.all(c, !has(c.ports) || "
            f"c.ports.all(p, p.containerPort != {OPS_PORT}))",
            f"template.spec.containers: containerPort {OPS_PORT} is the sidecar's, listen on another port",
            lambda pod: not _takes_operations_port(pod.containers),
        ),
    )


class PodTemplate(Model):
    """What the pods look like, beside what the operator adds."""

    model_config = ConfigDict(extra="allow")

    metadata: PodMetadata = Field(default=PodMetadata(), description="Labels and annotations of the pods.")
    spec: PodSpec = Field(
        default=PodSpec(),
        description="Spec of the pods, as in a Deployment; fields that are not listed here are passed on.",
    )
