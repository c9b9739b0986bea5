"""Decide how the programs of a control plane are called. Nothing here acts."""

from dataclasses import dataclass
from pathlib import Path

from devcluster.processes import Program

SERVICE_ACCOUNT_ISSUER = "https://kubernetes.default.svc.cluster.local"

# Tests watch an autoscaler act: it looks every 5 s instead of 15 s, and trusts the CPU numbers of a new pod
# after 5 s instead of 30 s.
AUTOSCALER_FLAGS = (
    "--horizontal-pod-autoscaler-sync-period=5s",
    "--horizontal-pod-autoscaler-initial-readiness-delay=5s",
)


# Alone on a machine its client's limit of 20 requests a second would be all that a test of many objects measures
UNTHROTTLED = ("--kube-api-qps=1000", "--kube-api-burst=2000", "--concurrent-deployment-syncs=20")


@dataclass(frozen=True, slots=True)
class ControlPlane:
    """Where a control plane keeps its files and which addresses it uses.

    `routes_services` is false where no kube-proxy runs: the API server then calls webhooks and aggregated
    APIs at the addresses in their EndpointSlices.
    """

    state: Path
    address: str
    port: int
    etcd_ports: tuple[int, int]
    service_cidr: str
    service_address: str
    pod_cidr: str | None = None
    netns: str | None = None
    routes_services: bool = True

    @property
    def pki(self) -> Path:
        """The folder of certificates and kubeconfigs."""
        return self.state / "pki"

    @property
    def server(self) -> str:
        """The URL of the API server."""
        return f"https://{self.address}:{self.port}"

    @property
    def server_names(self) -> tuple[str, ...]:
        """What the API server may be called."""
        service = "kubernetes.default.svc"
        names = ("kubernetes", "kubernetes.default", service, f"{service}.cluster.local", "localhost", "127.0.0.1")
        return tuple(dict.fromkeys((*names, self.address, self.service_address)))


def etcd(plane: ControlPlane, binary: Path) -> Program:
    """Return etcd: one member, which does not wait for the disk: what it holds may be lost with the machine."""
    client, peer = (f"http://127.0.0.1:{port}" for port in plane.etcd_ports)
    argv = (
        str(binary),
        "--name=switchboard",
        f"--data-dir={plane.state / 'etcd'}",
        "--unsafe-no-fsync",
        "--log-level=warn",
        f"--initial-cluster=switchboard={peer}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
    )
    return Program("etcd", argv, plane.netns)


def api_server(plane: ControlPlane, binary: Path) -> Program:
    """Return the API server: Node and RBAC authorization, the aggregation layer, service-account tokens."""
    pki = plane.pki
    argv = (
        str(binary),
        f"--etcd-servers=http://127.0.0.1:{plane.etcd_ports[0]}",
        f"--bind-address={'0.0.0.0' if plane.routes_services else plane.address}",
        f"--advertise-address={plane.address}",
        f"--secure-port={plane.port}",
        "--allow-privileged=true",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        f"--service-cluster-ip-range={plane.service_cidr}",
        f"--client-ca-file={pki}/ca.crt",
        f"--tls-cert-file={pki}/apiserver.crt",
        f"--tls-private-key-file={pki}/apiserver.key",
        f"--kubelet-certificate-authority={pki}/ca.crt",
        f"--kubelet-client-certificate={pki}/apiserver-kubelet-client.crt",
        f"--kubelet-client-key={pki}/apiserver-kubelet-client.key",
        "--kubelet-preferred-address-types=InternalIP",
        f"--service-account-issuer={SERVICE_ACCOUNT_ISSUER}",
        f"--service-account-key-file={pki}/service-account.crt",
        f"--service-account-signing-key-file={pki}/service-account.key",
        f"--requestheader-client-ca-file={pki}/front-proxy-ca.crt",
        "--requestheader-allowed-names=front-proxy-client",
        "--requestheader-username-headers=X-Remote-User",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        f"--proxy-client-cert-file={pki}/front-proxy-client.crt",
        f"--proxy-client-key-file={pki}/front-proxy-client.key",
    )
    # The endpoints of the Service `kubernetes` cannot hold a loopback address: without nodes nobody asks for them.
    alone = () if plane.routes_services else ("--enable-aggregator-routing=true", "--endpoint-reconciler-type=none")
    return Program("kube-apiserver", argv + alone, plane.netns)


def controller_manager(plane: ControlPlane, binary: Path) -> Program:
    """Return the controller manager; given the request-header CA it may start before the API server is ready."""
    pki, config = plane.pki, plane.pki / "controller-manager.kubeconfig"
    pods = ("--allocate-node-cidrs=true", f"--cluster-cidr={plane.pod_cidr}") if plane.pod_cidr else ()
    argv = (
        str(binary),
        f"--kubeconfig={config}",
        f"--authentication-kubeconfig={config}",
        f"--authorization-kubeconfig={config}",
        "--bind-address=127.0.0.1",
        *(() if plane.routes_services else ("--secure-port=0", *UNTHROTTLED)),
        "--leader-elect=false",
        "--use-service-account-credentials=true",
        f"--client-ca-file={pki}/ca.crt",
        f"--root-ca-file={pki}/ca.crt",
        f"--requestheader-client-ca-file={pki}/front-proxy-ca.crt",
        f"--service-account-private-key-file={pki}/service-account.key",
        f"--cluster-signing-cert-file={pki}/ca.crt",
        f"--cluster-signing-key-file={pki}/ca.key",
        f"--service-cluster-ip-range={plane.service_cidr}",
        *pods,
        *AUTOSCALER_FLAGS,
    )
    return Program("kube-controller-manager", argv, plane.netns)


def scheduler(plane: ControlPlane, binary: Path) -> Program:
    """Return the scheduler."""
    config = plane.pki / "scheduler.kubeconfig"
    argv = (
        str(binary),
        f"--kubeconfig={config}",
        f"--authentication-kubeconfig={config}",
        f"--authorization-kubeconfig={config}",
        "--bind-address=127.0.0.1",
        "--leader-elect=false",
    )
    return Program("kube-scheduler", argv, plane.netns)
