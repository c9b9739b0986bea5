"""Decide how containerd, kubelet, the network plugins and kube-proxy of a node are set up. Nothing here acts."""

import json
from dataclasses import dataclass
from pathlib import Path

from devcluster.processes import Program
from devcluster.settings import DNS_ADDRESS, POD_CIDR, Node

PAUSE_IMAGE = "localhost/switchboard-pause:1"


@dataclass(frozen=True, slots=True)
class NodePlan:
    """A node and the folders that it uses; `reserved_memory` is what its pods shall not use of the machine's."""

    node: Node
    folder: Path
    images: Path
    pki: Path
    reserved_memory_mib: int

    @property
    def socket(self) -> Path:
        """Where containerd listens."""
        return self.folder / "run" / "containerd.sock"


def containerd_config(plan: NodePlan) -> str:
    """Return containerd's configuration (TOML).

    restrict_oom_score_adj: without CAP_SYS_RESOURCE, as in many virtual machines, no sandbox starts otherwise.
    """
    folder = plan.folder
    return f"""version = 2
root = "{plan.images}"
state = "{folder}/run/containerd"
oom_score = 0
[grpc]
  address = "{plan.socket}"
[plugins."io.containerd.internal.v1.opt"]
  path = "{folder}/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE_IMAGE}"
  restrict_oom_score_adj = true
  disable_apparmor = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{folder}/cni/net.d"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = false
      Root = "{folder}/run/runc"
"""


def kubelet_config(plan: NodePlan) -> str:
    """Return kubelet's configuration (JSON, which is YAML)."""
    node, folder = plan.node, plan.folder
    document = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "failCgroupV1": False,
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{node.cgroup}",
        "containerRuntimeEndpoint": f"unix://{plan.socket}",
        "podLogsDir": f"{folder}/log/pods",
        "address": node.address,
        "clusterDNS": [DNS_ADDRESS],
        "clusterDomain": "cluster.local",
        "resolvConf": f"{folder}/resolv.conf",
        "failSwapOn": False,
        # There is no registry to fetch an image from again, so none may be collected.
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "evictionHard": {
            "memory.available": "100Mi",
            "nodefs.available": "1%",
            "imagefs.available": "1%",
            "nodefs.inodesFree": "1%",
        },
        # Every node sees the whole machine. Memory is divided; processors are shared, because idle pods use none.
        "systemReserved": {"cpu": "100m", "memory": f"{plan.reserved_memory_mib}Mi"},
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": f"{plan.pki}/ca.crt"},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": f"{plan.pki}/kubelet-{node.name}.crt",
        "tlsPrivateKeyFile": f"{plan.pki}/kubelet-{node.name}.key",
    }
    return json.dumps(document, indent=1)


def proxy_config(plan: NodePlan) -> str:
    """Return kube-proxy's configuration; the conntrack settings keep it off the machine's parameters."""
    document = {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "clientConnection": {"kubeconfig": f"{plan.pki}/proxy.kubeconfig"},
        "clusterCIDR": POD_CIDR,
        "hostnameOverride": plan.node.name,
        "healthzBindAddress": f"{plan.node.address}:10256",
        "metricsBindAddress": "127.0.0.1:10249",
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
    }
    return json.dumps(document, indent=1)


def network_config(plan: NodePlan, pod_cidr: str) -> str:
    """Return the configuration of the CNI plugins: a bridge with hairpin mode, and host ports."""
    addresses = {
        "type": "host-local",
        "dataDir": f"{plan.folder}/cni/ipam",
        "ranges": [[{"subnet": pod_cidr}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    bridge = {
        "type": "bridge",
        "bridge": "cni0",
        "isGateway": True,
        "hairpinMode": True,
        "ipMasq": False,
        "ipam": addresses,
    }
    ports = {"type": "portmap", "capabilities": {"portMappings": True}}
    return json.dumps({"cniVersion": "0.4.0", "name": "switchboard", "plugins": [bridge, ports]}, indent=1)


def containerd(plan: NodePlan) -> Program:
    """Return the node's containerd."""
    argv = ("containerd", "--config", str(plan.folder / "containerd.toml"))
    return Program(f"containerd-{plan.node.name}", argv, plan.node.netns)


def kubelet(plan: NodePlan, binary: Path) -> Program:
    """Return the node's kubelet, which registers the node with its zone."""
    node = plan.node
    argv = (
        str(binary),
        f"--config={plan.folder}/kubelet.json",
        f"--kubeconfig={plan.pki}/node-{node.name}.kubeconfig",
        f"--root-dir={plan.folder}/kubelet",
        f"--hostname-override={node.name}",
        f"--node-ip={node.address}",
        f"--node-labels=topology.kubernetes.io/zone={node.zone}",
    )
    return Program(f"kubelet-{node.name}", argv, node.netns)


def proxy(plan: NodePlan, binary: Path) -> Program:
    """Return the node's kube-proxy."""
    return Program(f"kube-proxy-{plan.node.name}", (str(binary), f"--config={plan.folder}/proxy.json"), plan.node.netns)
