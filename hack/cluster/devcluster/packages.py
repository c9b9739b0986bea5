"""The Debian packages which the local cluster and the image builds need."""

import os
import shutil
from pathlib import Path

from devcluster.commands import run, succeeds
from devcluster.faults import CommandFailed, PreconditionUnmet

# A package and a file that shows it is there, whoever installed it.
NEEDED = {
    "containerd": ("containerd", "ctr"),
    "runc": ("runc",),
    "containernetworking-plugins": ("/usr/lib/cni/bridge", "/usr/lib/cni/portmap", "/usr/lib/cni/host-local"),
    "nftables": ("nft",),
    "iptables": ("iptables",),  # the portmap plugin calls it
    "conntrack": ("conntrack",),
    "iproute2": ("ip",),
    "ethtool": ("ethtool",),
    "procps": ("sysctl",),
    "util-linux": ("nsenter", "umount"),
    "buildah": ("buildah",),
    "debootstrap": ("debootstrap",),
    "debian-archive-keyring": ("/usr/share/keyrings/debian-archive-keyring.gpg",),
}
SERVICES = ("containerd.service",)  # what a package starts on a machine with systemd, and nobody asked for


def missing_packages() -> list[str]:
    """Return the packages that have to be installed."""
    return [package for package, shown_by in NEEDED.items() if not all(is_there(name) for name in shown_by)]


def is_there(name: str) -> bool:
    """Tell whether a program (or a file, when it begins with a slash) is on the machine."""
    return Path(name).exists() if name.startswith("/") else shutil.which(name) is not None


def install_missing() -> None:
    """Install what is missing; raises PreconditionUnmet when that cannot be done here."""
    missing = missing_packages()
    if not missing:
        return
    if shutil.which("apt-get") is None:
        raise PreconditionUnmet(f"install these with your package manager and try again: {' '.join(missing)}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    install = ["apt-get", "install", "--yes", "--no-install-recommends", *missing]
    try:
        if not succeeds(["apt-get", "install", "--simulate", *missing], timeout_s=60):
            run(["apt-get", "update"], env=environment)
        run(install, env=environment)
    except CommandFailed as error:
        raise PreconditionUnmet(f"install them and try again: {' '.join(missing)} ({error})") from error
    if "containerd" in missing:
        stop_services()


def stop_services() -> None:
    """Turn off the services that came with the packages: the cluster runs its own."""
    for service in SERVICES:
        if Path("/run/systemd/system").is_dir() and succeeds(["systemctl", "is-active", "--quiet", service]):
            run(["systemctl", "disable", "--now", service])
