"""Fetch programs from the releases of their projects, where the internet answers.

A release is taken only when its checksum fits, which catches what captive portals and broken proxies send instead.
The addresses below are the projects' own; where one does not answer, the program is built from source.
"""

import hashlib
import io
import re
import tarfile
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from devcluster.settings import COREDNS_VERSION, ETCD_VERSION, HELM_VERSION

CONNECT_TIMEOUT_S = 5  # of silence; a machine without internet shall not wait long before it builds


@dataclass(frozen=True, slots=True)
class Release:
    """Where a program's release is, where its checksum is and, in an archive, which member it is."""

    url: str
    checksum_url: str
    member: str | None = None


class NotFetched(Exception):
    """The release could not be had, or is not what its checksum says."""


def known_releases(architecture: str, version: str) -> dict[str, Release]:
    """Return the releases of this Kubernetes, and of the pinned versions of the rest, for the architecture."""
    kubernetes = f"https://dl.k8s.io/release/v{version}/bin/linux/{architecture}"
    programs = ("kube-apiserver", "kube-controller-manager", "kube-proxy", "kube-scheduler", "kubelet", "kubectl")
    etcd = f"https://github.com/etcd-io/etcd/releases/download/v{ETCD_VERSION}"
    etcd_name = f"etcd-v{ETCD_VERSION}-linux-{architecture}"
    coredns = f"https://github.com/coredns/coredns/releases/download/v{COREDNS_VERSION}"
    coredns_url = f"{coredns}/coredns_{COREDNS_VERSION}_linux_{architecture}.tgz"
    helm = f"https://get.helm.sh/helm-v{HELM_VERSION}-linux-{architecture}.tar.gz"
    return {
        **{name: Release(f"{kubernetes}/{name}", f"{kubernetes}/{name}.sha256") for name in programs},
        "etcd": Release(f"{etcd}/{etcd_name}.tar.gz", f"{etcd}/SHA256SUMS", f"{etcd_name}/etcd"),
        "coredns": Release(coredns_url, f"{coredns_url}.sha256", "coredns"),
        "helm": Release(helm, f"{helm}.sha256sum", f"linux-{architecture}/helm"),
    }


def fetch_releases(programs: Sequence[str], target: Path, releases: Mapping[str, Release]) -> bool:
    """Put the programs into the folder, all or none; tell whether that was possible."""
    if not all(name in releases for name in programs):
        return False
    arrived = []
    try:
        for name in programs:
            arrived.append((name, fetch_one(releases[name])))
    except NotFetched:
        return False
    target.mkdir(parents=True, exist_ok=True)
    for name, content in arrived:
        scratch = target / f".{name}.new"
        scratch.write_bytes(content)
        scratch.chmod(0o755)
        scratch.replace(target / name)
    return True


def fetch_one(release: Release) -> bytes:
    """Return the program; raises NotFetched."""
    checksums = read(release.checksum_url).decode(errors="replace")
    content = read(release.url)
    expected = find_checksum(checksums, release.url.rpartition("/")[2])
    if expected is None or hashlib.sha256(content).hexdigest() != expected:
        raise NotFetched(f"{release.url} does not have the checksum of {release.checksum_url}")
    return content if release.member is None else extract(content, release.member)


def read(url: str) -> bytes:
    """Return what is at the address; raises NotFetched."""
    try:
        with urllib.request.urlopen(url, timeout=CONNECT_TIMEOUT_S) as answer:
            content: bytes = answer.read()
    except (urllib.error.URLError, OSError) as error:
        raise NotFetched(f"{url}: {error}") from error
    return content


def find_checksum(text: str, name: str) -> str | None:
    """Return a file's SHA-256 from a list of them, or from a text that is nothing but one."""
    rows = [line.split() for line in text.splitlines() if line.strip()]
    found = [row[0] for row in rows if len(row) == 1 or row[-1].lstrip("*").rpartition("/")[2] == name]
    return found[0].lower() if found and re.fullmatch(r"[0-9a-fA-F]{64}", found[0]) else None


def extract(archive: bytes, member: str) -> bytes:
    """Return one file of a compressed archive; raises NotFetched."""
    try:
        with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
            file = opened.extractfile(member)
            if file is None:
                raise NotFetched(f"{member} is no file")
            return file.read()
    except (tarfile.TarError, KeyError) as error:
        raise NotFetched(f"no {member} in the archive: {error}") from error
