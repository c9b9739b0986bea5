"""Decide what each image holds and which tag it gets. Reads files, changes none.

The lists equal the COPY lines of images/Dockerfile, and those that compile; a unit test compares them.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from devcluster.settings import PROJECT

REGISTRY = "localhost"  # so named, nothing tries to fetch the image from anywhere
TAG_LENGTH = 12
COMMON = ("wire/switchboard_wire", "runtime/switchboard_runtime", "sdk/switchboard")
ROUTING = "routing/switchboard_routing"
KUBE, IDENTITY = "kube/switchboard_kube", "identity/switchboard_identity"
SIDECAR, GATEWAY, OPERATOR = (
    "sidecar/switchboard_sidecar",
    "gateway/switchboard_gateway",
    "operator/switchboard_operator",
)
PACKAGES = {
    "operator": (*COMMON, ROUTING, KUBE, IDENTITY, OPERATOR),
    "gateway": (*COMMON, ROUTING, KUBE, IDENTITY, GATEWAY),
    "sidecar": (*COMMON, ROUTING, SIDECAR),
    "host": COMMON,
    "cli": (*COMMON, ROUTING, KUBE, IDENTITY, SIDECAR, GATEWAY, OPERATOR, "cli/switchboard_cli"),
}
# The packages whose modules on the message path are compiled, in the images that messages pass
COMPILED = {
    "gateway": ("switchboard_wire", "switchboard_routing", "switchboard_gateway"),
    "sidecar": ("switchboard_wire", "switchboard_sidecar"),
    "host": ("switchboard_wire", "switchboard"),
}


@dataclass(frozen=True, slots=True)
class ImagePlan:
    """An image of the project: the tags follow from the content, so a changed source is another image.

    is_compiled: the message path is machine code in it.
    """

    name: str
    dependencies_key: str
    source_key: str
    is_compiled: bool = False

    @property
    def repository(self) -> str:
        """The image's name without registry and tag."""
        return f"switchboard/{self.name}"

    @property
    def reference(self) -> str:
        """The image's full name."""
        return f"{REGISTRY}/{self.repository}:{self.source_key}"

    @property
    def dependencies(self) -> str:
        """The full name of the image below the source's layer."""
        return f"{REGISTRY}/{self.repository}-deps:{self.dependencies_key}"


def plan_images(project: Path = PROJECT, base_key: str = "", *, compiled: bool = False) -> list[ImagePlan]:
    """Return the images for the work tree as it is now. compiled: with machine code where the Dockerfile has it."""
    return [plan_image(project, name, base_key, compiled=compiled) for name in PACKAGES]


def plan_image(project: Path, name: str, base_key: str, *, compiled: bool = False) -> ImagePlan:
    """Return one image: the dependencies are decided by the Dockerfile, the lock file and the base."""
    dockerfile, lock = project / "images" / "Dockerfile", project / "requirements" / f"{name}.txt"
    below = digest([dockerfile.read_bytes(), lock.read_bytes(), base_key.encode(), name.encode()])
    parts = [below.encode()]
    for package in PACKAGES[name]:
        for file in source_files(project / package):
            parts += [str(file.relative_to(project)).encode(), file.read_bytes()]
    is_compiled = compiled and name in COMPILED
    if is_compiled:  # which modules, how, and by what
        compiler = ("pyproject.toml", "hack/compile.py", "requirements/compile.txt")
        parts += [(project / file).read_bytes() for file in compiler]
    return ImagePlan(name, below, digest(parts), is_compiled)


def source_files(package: Path) -> list[Path]:
    """Return the files of a package which belong in an image."""
    files = (file for file in package.rglob("*") if file.is_file() and "__pycache__" not in file.parts)
    return sorted(file for file in files if file.suffix != ".pyc")


def digest(parts: Iterable[bytes]) -> str:
    """Return a short name for the content; lengths go in, so that moving a boundary changes it."""
    whole = hashlib.sha256()
    for part in parts:
        whole.update(len(part).to_bytes(8, "big") + part)
    return whole.hexdigest()[:TAG_LENGTH]


def helm_values(plans: Iterable[ImagePlan]) -> dict[str, object]:
    """Return values for the chart which make it use these images."""
    own = {plan.name: {"image": {"repository": plan.repository, "tag": plan.source_key}} for plan in plans}
    deployed = {name: values for name, values in own.items() if name != "cli"}
    return {"image": {"registry": REGISTRY, "pullPolicy": "IfNotPresent"}, **deployed}
