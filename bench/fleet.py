"""The objects of the control plane's benchmark: pools, agents, fake nodes, and the children as kubectl applies them."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from switchboard_operator.desired import (
    build_account,
    build_budget,
    build_config_map,
    build_deployment,
    build_service,
)
from switchboard_operator.objects import read_resource
from switchboard_operator.pod import Images, Surroundings
from switchboard_wire import names

Json = dict[str, Any]

FAKE_NODES: Final = 50
IMAGES: Final = Images("sidecar:1", "host:1")
AROUND: Final = Surroundings("gateways:7410", "registries:7420", "IfNotPresent")


@dataclass(frozen=True, slots=True)
class Fleet:
    """So many AgentNodes with so many pods each, and Agents spread over them."""

    nodes: int
    pods_per_node: int
    agents: int

    @property
    def pods(self) -> int:
        return self.nodes * self.pods_per_node

    def agent_nodes(self, namespace: str) -> Iterator[Json]:
        return (
            agent_node_of(namespace, f"pool-{number:04}", self.pods_per_node, f"fake-{number % FAKE_NODES:02}")
            for number in range(self.nodes)
        )

    def agents_of(self, namespace: str) -> Iterator[Json]:
        return (agent(namespace, f"agent-{n:05}", f"pool-{n % self.nodes:04}") for n in range(self.agents))

    def children(self, namespace: str) -> Iterator[Json]:
        """What the operator makes of the AgentNodes, as a person would apply it without one."""
        agents = list(self.agents_of(namespace))
        for number, manifest in enumerate(self.agent_nodes(namespace)):
            node = read_resource(names.AGENT_NODE, manifest)
            assignments = json.dumps([agents[n]["spec"] for n in range(number, self.agents, self.nodes)])
            for child in (
                build_account(node),
                build_config_map(node, assignments),
                build_service(node),
                build_budget(node),
                build_deployment(node, self.pods_per_node, IMAGES, AROUND),
            ):
                del child["metadata"]["ownerReferences"]
                yield child


def fake_nodes() -> Iterator[Json]:
    """Nodes that kwok plays."""
    for number in range(FAKE_NODES):
        yield {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": f"fake-{number:02}"},
            "status": {"allocatable": {"cpu": "1000", "memory": "1Ti", "pods": "10000"}},
        }


def agent_node_of(namespace: str, name: str, replicas: int, runs_on: str) -> Json:
    """An AgentNode whose pods a fake node runs: there is no scheduler."""
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.AGENT_NODE,
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"replicas": replicas, "template": {"spec": {"nodeName": runs_on}}},
    }


def agent(namespace: str, name: str, node: str, entry: str = "echo:echo") -> Json:
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.AGENT,
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"nodeRef": {"name": node}, "handler": {"python": {"entry": entry}}},
    }


def write_lists(folder: Path, name: str, objects: Iterable[Json], parts: int = 1) -> list[Path]:
    """The objects as files for kubectl: so many that as many processes can apply them at once."""
    held = list(objects)
    files = []
    for part in range(parts):
        file = folder / f"{name}-{part}.json"
        file.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": held[part::parts]}))
        files.append(file)
    return files
