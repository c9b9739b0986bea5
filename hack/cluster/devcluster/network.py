"""The network of the local cluster: a namespace for each node, one segment for all of them and the host.

The bridge is in the first node's namespace and carries that node's address, because not every kernel has dummy
devices; the other nodes and the host hang on it by pairs of virtual devices. The host keeps one device and three
routes, with which its programs reach the API server, pods and Services; nothing of it is changed otherwise.
"""

import ipaddress
import json
from collections.abc import Sequence
from pathlib import Path

from devcluster.commands import run
from devcluster.faults import PreconditionUnmet
from devcluster.settings import HOST_ADDRESS, HOST_DEVICE, NODE_CIDR, NODES, POD_CIDR, SERVICE_CIDR, Node

BRIDGE = "sb-bridge"
Command = tuple[str, ...]


def device_of(node: Node) -> str:
    """Return the device that carries the node's address."""
    return BRIDGE if node == NODES[0] else "eth0"


def plan_network(nodes: Sequence[Node]) -> list[Command]:
    """Return the commands which make the namespaces, the segment and the routes to Services."""
    prefix = NODE_CIDR.rpartition("/")[2]
    first = nodes[0]
    plan: list[Command] = []
    for node in nodes:
        plan += [("ip", "netns", "add", node.netns), inside(node, "link", "set", "lo", "up")]
    plan += [inside(first, "link", "add", BRIDGE, "type", "bridge"), inside(first, "link", "set", BRIDGE, "up")]
    for node in nodes[1:]:
        peer = ("type", "veth", "peer", "name", "eth0", "netns", node.netns)
        plan += [inside(first, "link", "add", f"to-{node.name}", *peer)]
        plan += [inside(first, "link", "set", f"to-{node.name}", "master", BRIDGE, "up")]
    for node in nodes:
        device = device_of(node)
        plan += [inside(node, "addr", "add", f"{node.address}/{prefix}", "dev", device)]
        plan += [inside(node, "link", "set", device, "up")]
        # Without it the node's own programs cannot reach a ClusterIP ("network is unreachable").
        plan += [inside(node, "route", "add", SERVICE_CIDR, "dev", device)]
    peer = ("type", "veth", "peer", "name", "to-host", "netns", first.netns)
    plan += [("ip", "link", "add", HOST_DEVICE, *peer), inside(first, "link", "set", "to-host", "master", BRIDGE, "up")]
    plan += [("ip", "addr", "add", f"{HOST_ADDRESS}/{prefix}", "dev", HOST_DEVICE)]
    plan += [("ip", "link", "set", HOST_DEVICE, "up")]
    # kube-proxy of the first node translates what the host sends to Services.
    plan += [("ip", "route", "add", SERVICE_CIDR, "via", first.address)]
    return plan


def plan_pod_routes(pod_cidrs: dict[str, str], nodes: Sequence[Node]) -> list[Command]:
    """Return the commands which lead the host and every node to the pods of each node."""
    plan: list[Command] = []
    for node in nodes:
        route = ("route", "replace", pod_cidrs[node.name], "via", node.address)
        plan.append(("ip", *route))
        plan += [inside(other, *route) for other in nodes if other != node]
    return plan


def inside(node: Node, *words: str) -> Command:
    """Return an `ip` command for the node's namespace."""
    return ("ip", "-n", node.netns, *words)


def is_up() -> bool:
    """Tell whether the namespaces and the host's device are there."""
    spaces = [Path("/run/netns") / node.netns for node in NODES]
    return Path(f"/sys/class/net/{HOST_DEVICE}").exists() and all(space.exists() for space in spaces)


def bring_up() -> None:
    """Make the network, from nothing when a part of it is missing."""
    if is_up():
        return
    remove()
    require_free_addresses()
    for command in plan_network(NODES):
        run(command)
    for node in NODES:
        run(["nsenter", f"--net=/run/netns/{node.netns}", "--", "sysctl", "-qw", "net.ipv4.ip_forward=1"])


def add_pod_routes(pod_cidrs: dict[str, str]) -> None:
    """Lead everybody to the pods."""
    for command in plan_pod_routes(pod_cidrs, NODES):
        run(command)


def remove() -> None:
    """Remove the network; the devices inside the namespaces go with them."""
    if Path(f"/sys/class/net/{HOST_DEVICE}").exists():
        run(["ip", "link", "del", HOST_DEVICE])
    for node in NODES:
        if (Path("/run/netns") / node.netns).exists():
            run(["ip", "netns", "del", node.netns])


def require_free_addresses() -> None:
    """Raise PreconditionUnmet when the machine already routes one of the cluster's address ranges."""
    for route in json.loads(run(["ip", "-json", "-4", "route", "show"]) or "[]"):
        clash = find_clash(str(route["dst"]))
        if clash is not None:
            raise PreconditionUnmet(
                f"the route {route['dst']} dev {route.get('dev')} overlaps the cluster's {clash}: take it away, "
                "or use another provider (CLUSTER=kind or current)"
            )


def find_clash(destination: str) -> str | None:
    """Return the cluster's range that a route's destination overlaps; the default route overlaps none."""
    if destination == "default":
        return None
    taken = ipaddress.ip_network(destination, strict=False)
    ours = (POD_CIDR, SERVICE_CIDR, NODE_CIDR)
    return next((cidr for cidr in ours if taken.overlaps(ipaddress.ip_network(cidr))), None)
