"""What the cluster is made of: places, addresses, nodes, versions. Values only."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[3]
GO_MODULE = PROJECT / "hack" / "cluster" / "kube"
MANIFESTS = Path(__file__).resolve().parent / "manifests"

KUBERNETES_VERSION = "1.36.3"
ETCD_VERSION = "3.6.8"
HELM_VERSION = "4.3.1"
COREDNS_VERSION = "1.15.0"
METRICS_SERVER_VERSION = "0.9.0"
KIND_VERSION = "0.33.0"
KWOK_VERSION = "0.8.0"  # plays the nodes and pods of benchmarks

# Rarely used parts of the private range, so that they meet neither a home network nor another cluster.
POD_CIDR = "10.217.0.0/16"
SERVICE_CIDR = "10.218.0.0/20"
SERVICE_ADDRESS = "10.218.0.1"
DNS_ADDRESS = "10.218.0.10"
NODE_CIDR = "10.219.77.0/24"
HOST_ADDRESS = "10.219.77.1"
HOST_DEVICE = "sb-host"
API_PORT = 6443


@dataclass(frozen=True, slots=True)
class Node:
    """A node of the local cluster, which lives in a network namespace of its own."""

    name: str
    zone: str
    address: str

    @property
    def netns(self) -> str:
        """The name of its network namespace."""
        return f"sb-{self.name}"

    @property
    def cgroup(self) -> str:
        """The control group that all its pods are under."""
        return f"switchboard-{self.name}"


NODES = (Node("node-a", "zone-a", "10.219.77.2"), Node("node-b", "zone-b", "10.219.77.3"))


@dataclass(frozen=True, slots=True)
class Places:
    """Where the tool keeps things.

    `state` lasts as long as a cluster, `cache` is worth keeping, `build` is in the work tree.
    """

    state: Path
    cache: Path
    build: Path = PROJECT / "build"

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig of the cluster in use."""
        return self.build / "cluster" / "kubeconfig"

    @property
    def provider(self) -> Path:
        """A file with the name of the provider of the cluster in use."""
        return self.build / "cluster" / "provider"

    @property
    def kept_images(self) -> Path:
        """A list of the images worth keeping in the nodes' folders when the cluster goes."""
        return self.cache / "nodes" / "kept.json"

    def node(self, node: Node) -> Path:
        """The folder of a node's sockets, mounts and configuration."""
        return self.state / node.name

    def node_images(self, node: Node) -> Path:
        """The folder in which a node keeps its images; it outlives the cluster, so that the next starts sooner."""
        return self.cache / "nodes" / node.name


def read_places(environment: Mapping[str, str]) -> Places:
    """Return the places; the state is the same for all clones, because a machine carries one such cluster."""
    home = Path(environment.get("HOME") or "/root")
    cache = Path(environment.get("XDG_CACHE_HOME") or home / ".cache")
    # Under /var/lib and short: sockets lie below it, and their paths may have no more than 107 characters.
    state = Path(environment.get("SWITCHBOARD_CLUSTER_STATE") or "/var/lib/switchboard-cluster")
    return Places(state, cache / "switchboard")


def from_environment() -> Places:
    """Return the places for this process."""
    return read_places(os.environ)
