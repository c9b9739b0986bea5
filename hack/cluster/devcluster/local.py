"""The local provider: a whole cluster of real programs in network namespaces of this machine, as root.

Every step looks first and does only what is missing, so the same command brings up, repairs and confirms.
"""

import datetime
import json
import os
import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from devcluster import addons, binaries, control_plane, machine, network, node, packages, pki, processes
from devcluster.control_plane import ControlPlane
from devcluster.faults import ClusterError, PreconditionUnmet
from devcluster.kubectl import Kubectl
from devcluster.node_config import NodePlan
from devcluster.settings import (
    API_PORT,
    NODES,
    POD_CIDR,
    SERVICE_ADDRESS,
    SERVICE_CIDR,
    Node,
    Places,
)
from devcluster.steps import Step, run_steps, show
from devcluster.waiting import wait_until

PACKAGES_STEP = "Debian packages"
API_TIMEOUT_S = 90
ADDONS_TIMEOUT_S = 180
MEMORY_BYTES = 4 << 30  # the control plane, two nodes and a demo's pods use half of it
SOCKET_PATH_LIMIT = 50  # characters of the state folder; sockets below it may have 107 in all


@dataclass(frozen=True, slots=True)
class LocalCluster:
    """The local cluster of these places, with the programs to run it with."""

    places: Places
    found: binaries.Binaries

    @property
    def state(self) -> Path:
        """The folder of all that lasts as long as the cluster."""
        return self.places.state

    @property
    def record(self) -> Path:
        """The record of the machine before the cluster."""
        return self.state / "found.json"

    @property
    def plane(self) -> ControlPlane:
        """The control plane, in the first node's namespace."""
        first = NODES[0]
        return ControlPlane(
            state=self.state,
            address=first.address,
            port=API_PORT,
            etcd_ports=(2379, 2380),
            service_cidr=SERVICE_CIDR,
            service_address=SERVICE_ADDRESS,
            pod_cidr=POD_CIDR,
            netns=first.netns,
        )

    @property
    def kubectl(self) -> Kubectl:
        """kubectl with the administrator's kubeconfig."""
        return Kubectl(self.found.path("kubectl"), self.plane.pki / "admin.kubeconfig")

    def plan_of(self, chosen: Node) -> NodePlan:
        """Return the plan of a node."""
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        reserved_mib = memory * (len(NODES) - 1) // len(NODES) >> 20
        images = self.places.node_images(chosen)
        return NodePlan(chosen, self.places.node(chosen), images, self.plane.pki, reserved_mib)

    @property
    def program_names(self) -> list[str]:
        """Return the names of all programs that make up the cluster."""
        parts = [f"{program}-{chosen.name}" for chosen in NODES for program in ("containerd", "kubelet", "kube-proxy")]
        return ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", *parts]


def locate(places: Places) -> LocalCluster:
    """Return the local cluster of these places, whether it is up or not."""
    return LocalCluster(places, binaries.locate(places, os.environ))


def require_machine(cluster: LocalCluster) -> None:
    """Raise PreconditionUnmet, saying what to do, when this machine cannot carry the cluster."""
    if os.geteuid() != 0:
        raise PreconditionUnmet(
            "the local cluster needs root: run `sudo make cluster`, start Docker for kind, or use CLUSTER=current"
        )
    if not Path("/proc/self/ns/net").exists():
        raise PreconditionUnmet("the local cluster needs Linux: start Docker for kind, or use CLUSTER=current")
    if len(str(cluster.state)) > SOCKET_PATH_LIMIT:
        raise PreconditionUnmet(
            f"SWITCHBOARD_CLUSTER_STATE is too long for sockets: at most {SOCKET_PATH_LIMIT} letters"
        )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if memory < MEMORY_BYTES:
        raise PreconditionUnmet(f"the local cluster needs 4 GiB of memory, this machine has {memory / (1 << 30):.1f}")
    parent = next(folder for folder in cluster.state.parents if folder.exists())
    if shutil.disk_usage(parent).free < 2 << 30:
        raise PreconditionUnmet(f"less than 2 GiB are free on the disk of {parent}: make room and try again")


def is_healthy(cluster: LocalCluster) -> bool:
    """Tell whether the cluster is complete and made by this version of the tool."""
    found = machine.FoundState.load(cluster.record)
    if found is None or found.boot_id != machine.boot_id() or made_by(cluster) != cluster.found.key:
        return False
    alive = {part.name for part in processes.find(cluster.state) if part.is_main}
    if not alive.issuperset(cluster.program_names) or not network.is_up() or cluster.found.find("kubectl") is None:
        return False
    return (
        cluster.kubectl.is_ready()
        and node.are_ready(cluster.kubectl, [chosen.name for chosen in NODES])
        and addons.are_available(cluster.kubectl)
    )


def made_by(cluster: LocalCluster) -> str | None:
    """Return the versions that the cluster was completed with, None when it never was."""
    mark = cluster.state / "complete"
    return mark.read_text() if mark.exists() else None


def up(cluster: LocalCluster, meanwhile: list[Step]) -> None:
    """Bring the cluster up, or repair it; `meanwhile` are steps which overlap with the builds."""
    require_machine(cluster)
    if is_healthy(cluster):
        return
    discard_stale(cluster)
    was_there = cluster.record.exists()
    prepare(cluster, meanwhile)
    try:
        assemble(cluster)
    except ClusterError as error:
        if not was_there:
            raise
        show(f"cannot repair the cluster ({error}): making it anew")
        down(cluster)
        assemble(cluster)


def discard_stale(cluster: LocalCluster) -> None:
    """Take down what another boot or another version of the tool has left."""
    found = machine.FoundState.load(cluster.record)
    is_of_this_boot = found is not None and found.boot_id == machine.boot_id()
    made = made_by(cluster)
    if cluster.state.exists() and (not is_of_this_boot or made not in (None, cluster.found.key)):
        show("taking down what an earlier cluster left")
        down(cluster)


def packages_step() -> tuple[str, ...]:
    """Return the title of the step that installs packages, for steps which come after it, when there will be one."""
    return (PACKAGES_STEP,) if packages.missing_packages() else ()


def prepare(cluster: LocalCluster, meanwhile: list[Step]) -> None:
    """Install packages and build programs, as far as they are missing."""
    steps, before = [], tuple[str, ...]()
    if packages.missing_packages():
        steps.append(Step(PACKAGES_STEP, packages.install_missing, 15))
    for recipe in binaries.LOCAL_CLUSTER:
        if cluster.found.missing(recipe):
            title = cluster.found.title(recipe)
            # One build after the other: each already uses all processors.
            steps.append(Step(title, partial(binaries.provide, cluster.found, recipe), recipe.expected_s, before))
            before = (title,)
    run_steps([*steps, *meanwhile])


def assemble(cluster: LocalCluster) -> None:
    """Start whatever does not run, from the network to the addons, and wait until it works."""
    machine.record(cluster.record)
    machine.raise_inotify_limit()
    network.bring_up()
    plane = cluster.plane
    demand = pki.Demand(plane.server, plane.server_names, tuple((chosen.name, chosen.address) for chosen in NODES))
    pki.write_all(plane.pki, demand, datetime.datetime.now(datetime.UTC))
    names = [chosen.name for chosen in NODES]
    addons.write_archives(cluster.found)
    begin_nodes = [Step(f"containerd on {n.name}", partial(begin_node, cluster, n)) for n in NODES]
    join_nodes = [
        Step(f"kubelet on {n.name}", partial(join_node, cluster, n), 5, ("control plane", f"containerd on {n.name}"))
        for n in NODES
    ]
    run_steps(
        [
            Step("control plane", lambda: start_control_plane(cluster), 5),
            *begin_nodes,
            *join_nodes,
            Step("nodes", lambda: finish_nodes(cluster, names), 0, tuple(step.title for step in join_nodes)),
            # Not before the nodes are ready, or all of them would land on the first that is.
            Step("DNS and metrics", lambda: finish_addons(cluster), 15, ("nodes",)),
        ]
    )
    (cluster.state / "complete").write_text(cluster.found.key)


def start_control_plane(cluster: LocalCluster) -> None:
    """Start the control plane and return when the API server is ready."""
    plane, path = cluster.plane, cluster.found.path
    programs = [
        control_plane.etcd(plane, path("etcd")),
        control_plane.api_server(plane, path("kube-apiserver")),
        control_plane.controller_manager(plane, path("kube-controller-manager")),
        control_plane.scheduler(plane, path("kube-scheduler")),
    ]
    processes.ensure(cluster.state, programs)

    def ready() -> bool:
        processes.require_running(cluster.state, [program.name for program in programs])
        return cluster.kubectl.is_ready()

    wait_until(ready, "the API server", API_TIMEOUT_S)


def begin_node(cluster: LocalCluster, chosen: Node) -> None:
    """Start a node's containerd and give it the images of the addons."""
    plan = cluster.plan_of(chosen)
    node.start_containerd(cluster.state, plan)
    node.import_images(plan, addons.archives(cluster.found))


def join_node(cluster: LocalCluster, chosen: Node) -> None:
    """Start a node's kubelet and kube-proxy and connect its pods."""
    plan = cluster.plan_of(chosen)
    programs = (cluster.found.path("kubelet"), cluster.found.path("kube-proxy"))
    node.start_kubelet_and_proxy(cluster.state, plan, programs)
    node.connect_pods(plan, cluster.kubectl)


def finish_nodes(cluster: LocalCluster, names: list[str]) -> None:
    """Lead everybody to the pods of all nodes, and wait until these are ready."""
    cidrs = {chosen.name: node.pod_cidr(cluster.plan_of(chosen), cluster.kubectl) for chosen in NODES}
    network.add_pod_routes(cidrs)
    wait_until(lambda: node.are_ready(cluster.kubectl, names), "the nodes to be ready", node.NODE_TIMEOUT_S)


def finish_addons(cluster: LocalCluster) -> None:
    """Bring up the addons; every part has to be still alive after it."""
    addons.apply(cluster.kubectl)
    addons.wait_until_available(cluster.kubectl, ADDONS_TIMEOUT_S)
    processes.require_running(cluster.state, cluster.program_names)


def down(cluster: LocalCluster) -> None:
    """Take the cluster down, whole or half-built or crashed, and put the machine back as it was found."""
    state, groups = cluster.state, [chosen.cgroup for chosen in NODES]
    if not state.exists():
        return
    if os.geteuid() != 0:
        raise PreconditionUnmet("the local cluster was started by root: run `sudo make down`")
    # Those who would start pods again end first; what they started ends by force, for nothing of it is kept.
    processes.stop(state, [name for name in cluster.program_names if not name.startswith("containerd")], grace_s=0)
    machine.kill_cgroups(groups)
    alive = {part.name for part in processes.find(state) if part.is_main}
    kept = {*addons.IMAGES, *read_kept(cluster.places)}
    for chosen in NODES:
        if f"containerd-{chosen.name}" in alive:
            node.remove_containers(cluster.plan_of(chosen), kept)
    processes.stop(state)
    machine.kill_cgroups(groups)
    machine.unmount_below(state)
    network.remove()
    machine.remove_cgroups(groups)
    found = machine.FoundState.load(cluster.record)
    if found is not None:
        machine.restore(found)
    shutil.rmtree(state)


def read_kept(places: Places) -> list[str]:
    """Return the project's images of the last build; older ones would fill the disk, and are built in seconds."""
    kept = places.kept_images
    return [str(name) for name in json.loads(kept.read_text())] if kept.exists() else []
