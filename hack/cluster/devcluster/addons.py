"""What runs on the local cluster beside the workloads: cluster DNS and the metrics of pods."""

from pathlib import Path
from string import Template

from devcluster import binaries
from devcluster.kubectl import Kubectl, is_true
from devcluster.node_config import PAUSE_IMAGE
from devcluster.one_binary_image import write_image
from devcluster.settings import COREDNS_VERSION, DNS_ADDRESS, MANIFESTS, METRICS_SERVER_VERSION
from devcluster.waiting import wait_until

COREDNS_IMAGE = f"localhost/switchboard-coredns:{COREDNS_VERSION}"
METRICS_SERVER_IMAGE = f"localhost/switchboard-metrics-server:{METRICS_SERVER_VERSION}"
IMAGES = {PAUSE_IMAGE: "pause", COREDNS_IMAGE: "coredns", METRICS_SERVER_IMAGE: "metrics-server"}
DEPLOYMENTS = ("coredns", "metrics-server")


def archives(found: binaries.Binaries) -> dict[str, Path]:
    """Return where the archive of each image is."""
    return {reference: found.home(program) / "images" / f"{program}.tar" for reference, program in IMAGES.items()}


def write_archives(found: binaries.Binaries) -> None:
    """Write those archives which are not there yet."""
    for reference, archive in archives(found).items():
        if not archive.exists():
            archive.parent.mkdir(parents=True, exist_ok=True)
            scratch = archive.with_suffix(".new")
            write_image(found.path(IMAGES[reference]), reference, binaries.architecture(), scratch)
            scratch.replace(archive)


def apply(kubectl: Kubectl) -> None:
    """Apply the manifests of all addons."""
    values = {
        "COREDNS_IMAGE": COREDNS_IMAGE,
        "METRICS_SERVER_IMAGE": METRICS_SERVER_IMAGE,
        "DNS_ADDRESS": DNS_ADDRESS,
    }
    for name in DEPLOYMENTS:
        kubectl.apply(Template((MANIFESTS / f"{name}.yaml").read_text()).substitute(values))


def are_available(kubectl: Kubectl) -> bool:
    """Tell whether every addon serves."""
    items = kubectl.items("deployments", "--namespace=kube-system")
    available = {item["metadata"]["name"] for item in items if is_true("Available", item)}
    return available.issuperset(DEPLOYMENTS)


def wait_until_available(kubectl: Kubectl, timeout_s: float) -> None:
    """Return when every addon serves."""
    wait_until(lambda: are_available(kubectl), "CoreDNS and metrics-server", timeout_s)
