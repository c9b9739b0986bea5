"""Bring up a node of the local cluster: its folders, containerd with the addons' images, kubelet, kube-proxy."""

import shutil
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from devcluster import machine, node_config, processes
from devcluster.commands import run, succeeds
from devcluster.faults import CommandFailed, DeadlinePassed
from devcluster.kubectl import Kubectl, is_true
from devcluster.node_config import NodePlan
from devcluster.settings import DNS_ADDRESS
from devcluster.waiting import wait_until

CONTAINERD_TIMEOUT_S = 60
CTR_TIMEOUT_S = 300  # the import of a large image on a busy disk
EMPTYING_TIMEOUT_S = 10
NODE_TIMEOUT_S = 120  # eleven seconds on an idle machine
IN_USE = "in-use"  # in the folder of images while a cluster uses it; what a crash leaves there is not trusted


def ctr(plan: NodePlan, *words: str | Path) -> str:
    """Run containerd's client on the namespace that kubelet uses."""
    return run([*ctr_argv(plan), *words], timeout_s=CTR_TIMEOUT_S)


def ctr_argv(plan: NodePlan) -> list[str]:
    """Return how containerd's client is called for the node."""
    return ["ctr", f"--address={plan.socket}", "--namespace=k8s.io"]


def start_containerd(state: Path, plan: NodePlan) -> None:
    """Start the node's containerd, when it does not run, and return when it answers."""
    program = node_config.containerd(plan)
    if not any(found.is_main and found.name == program.name for found in processes.find(state)):
        mark = plan.images / IN_USE
        if mark.exists() and not plan.folder.exists():
            shutil.rmtree(plan.images)
        plan.images.mkdir(parents=True, exist_ok=True)
        mark.touch()
        write_files(plan)
        processes.start(state, program)

    def answers() -> bool:
        processes.require_running(state, [program.name])
        return succeeds([*ctr_argv(plan), "version"])

    wait_until(answers, program.name, CONTAINERD_TIMEOUT_S)


def write_files(plan: NodePlan) -> None:
    """Write the node's configuration, all but the network plugins', which needs the node's pod addresses."""
    for name in ("run", "kubelet", "cni/net.d", "cni/ipam", "log/pods", "opt"):
        (plan.folder / name).mkdir(parents=True, exist_ok=True)
    (plan.folder / "resolv.conf").write_text(f"nameserver {DNS_ADDRESS}\n")
    (plan.folder / "containerd.toml").write_text(node_config.containerd_config(plan))
    (plan.folder / "kubelet.json").write_text(node_config.kubelet_config(plan))
    (plan.folder / "proxy.json").write_text(node_config.proxy_config(plan))


def import_images(plan: NodePlan, archives: Mapping[str, Path]) -> None:
    """Give the node the images (reference → archive) that it does not have."""
    present = image_names(plan)
    for reference, archive in archives.items():
        if reference not in present:
            ctr(plan, "images", "import", archive)


def image_names(plan: NodePlan) -> set[str]:
    """Return the references of the node's images."""
    return set(image_digests(plan))


def image_digests(plan: NodePlan) -> dict[str, str]:
    """Return the digest of what each of the node's image references stands for."""
    rows = (line.split() for line in ctr(plan, "images", "ls").splitlines()[1:])
    return {row[0]: row[2] for row in rows}


def find_outdated(digests: Mapping[str, str], kept: Collection[str]) -> list[str]:
    """Return the references to remove: each image has a second one, by its id, which must go or stay with it."""
    wanted = {digests[name] for name in kept if name in digests}
    return sorted(name for name, digest in digests.items() if digest not in wanted)


def start_kubelet_and_proxy(state: Path, plan: NodePlan, programs: tuple[Path, Path]) -> None:
    """Start kubelet and kube-proxy when they do not run."""
    machine.make_cgroup(plan.node.cgroup)
    kubelet, proxy = programs
    processes.ensure(state, [node_config.kubelet(plan, kubelet), node_config.proxy(plan, proxy)])


def connect_pods(plan: NodePlan, kubectl: Kubectl) -> str:
    """Write the network plugins' configuration once the cluster has given the node its pod addresses; return them."""
    wait_until(lambda: bool(pod_cidr(plan, kubectl)), f"{plan.node.name} to be registered", NODE_TIMEOUT_S)
    cidr = pod_cidr(plan, kubectl)
    target = plan.folder / "cni" / "net.d" / "10-switchboard.conflist"
    if not target.exists():
        scratch = target.with_suffix(".new")
        scratch.write_text(node_config.network_config(plan, cidr))
        scratch.replace(target)
    return cidr


def pod_cidr(plan: NodePlan, kubectl: Kubectl) -> str:
    """Return the node's range of pod addresses, empty while it has none."""
    items = [item for item in kubectl.items("nodes") if item["metadata"]["name"] == plan.node.name]
    return str(items[0]["spec"].get("podCIDR", "")) if items else ""


def are_ready(kubectl: Kubectl, names: Iterable[str]) -> bool:
    """Tell whether all the nodes are ready."""
    return {item["metadata"]["name"] for item in kubectl.items("nodes") if is_true("Ready", item)}.issuperset(names)


def remove_containers(plan: NodePlan, kept: Collection[str]) -> None:
    """Remove all containers, whose processes have ended, and all images but those to keep.

    Where that fails, as after a crash of containerd, the folder stays marked and the next cluster begins a new one.
    """
    try:
        wait_until(lambda: is_emptied(plan), "containers to go", EMPTYING_TIMEOUT_S)
        outdated = find_outdated(image_digests(plan), kept)
        if outdated:
            ctr(plan, "images", "rm", *outdated)
    except (CommandFailed, DeadlinePassed):
        return
    (plan.images / IN_USE).unlink(missing_ok=True)


def is_emptied(plan: NodePlan) -> bool:
    """Remove what can be removed and tell whether that was all; containerd itself removes ended tasks meanwhile."""
    tasks = ctr(plan, "tasks", "ls", "--quiet").split()
    if tasks:
        succeeds([*ctr_argv(plan), "tasks", "rm", "--force", *tasks])
    containers = ctr(plan, "containers", "ls", "--quiet").split()
    if containers:
        succeeds([*ctr_argv(plan), "containers", "rm", *containers])
    return not ctr(plan, "containers", "ls", "--quiet").split()
