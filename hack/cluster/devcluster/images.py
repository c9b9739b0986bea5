"""Build the project's images and bring them into the cluster.

For the local provider, without a registry: the dependencies are built by buildah from images/Dockerfile, once for
each lock file; the source is one more layer, made here in the shape that the Dockerfile gives it. For kind, Docker
builds it all. Either way build/images.json tells the full names, build/image-values.json is a values file for Helm.
"""

import json
import os
import shutil
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from devcluster import base_image, local, machine, machine_code, node, provider, thin_layer
from devcluster.commands import run
from devcluster.faults import PreconditionUnmet
from devcluster.image_plan import PACKAGES, REGISTRY, ImagePlan, helm_values, plan_images, source_files
from devcluster.node_config import NodePlan
from devcluster.settings import NODES, PROJECT, Places
from devcluster.steps import Step, run_steps

BASE_REFERENCE = "localhost/switchboard-base:1"
SOURCE_FOLDER = "/opt/switchboard"
WHEELS_S, BUILD_S, SOURCE_S = 15, 12, 3


def provide(places: Places, also: str | None = None, *, compiled: bool = False) -> Path:
    """Bring the images of the work tree into the cluster; return the file with their names.

    `also` is a tag that they get besides their own: a second name, with which tests roll a new image out.
    compiled: with the message path as machine code. kind's always have it where Docker finds a compiler.
    """
    if not places.provider.exists():
        raise PreconditionUnmet("there is no cluster to bring the images into: run `make cluster`")
    name = places.provider.read_text()
    if name == provider.CURRENT:
        raise PreconditionUnmet("push the images to your cluster's registry: see docs/how-to/install.md")
    is_kind = name == provider.KIND
    plans = plan_images(base_key="docker" if is_kind else base_image.KEY, compiled=compiled and not is_kind)
    if is_kind:
        run_steps([Step(f"image {plan.name}", partial(build_for_kind, places, plan), 60) for plan in plans])
    else:
        provide_local(places, plans)
    if also is not None:
        for plan in plans:
            add_name(places, plan, f"{REGISTRY}/{plan.repository}:{also}")
    return write_names(places, plans)


def write_names(places: Places, plans: list[ImagePlan]) -> Path:
    """Write the images' names for programs and for Helm; return the former."""
    names = places.build / "images.json"
    names.write_text(json.dumps({plan.name: plan.reference for plan in plans}, indent=1) + "\n")
    (places.build / "image-values.json").write_text(json.dumps(helm_values(plans), indent=1) + "\n")
    return names


def build_for_kind(places: Places, plan: ImagePlan) -> None:
    """Build one image with Docker and load it into the kind cluster."""
    dockerfile = PROJECT / "images" / "Dockerfile"
    run(["docker", "build", "--file", dockerfile, "--target", plan.name, "--tag", plan.reference, PROJECT])
    provider.load_into_kind(places, plan.reference)


def add_name(places: Places, plan: ImagePlan, reference: str) -> None:
    """Give an image that the cluster has a second name."""
    if places.provider.read_text() == provider.KIND:
        run(["docker", "tag", plan.reference, reference])
        provider.load_into_kind(places, reference)
        return
    for target in nodes_of(places):
        node.ctr(target, "images", "tag", "--force", plan.reference, reference)


def nodes_of(places: Places) -> list[NodePlan]:
    """Return the nodes of the local cluster."""
    cluster = local.locate(places)
    return [cluster.plan_of(chosen) for chosen in NODES]


def preparations(places: Places, after: tuple[str, ...] = ()) -> list[Step]:
    """Return the steps that need no cluster: they overlap with the building of its programs."""
    steps = []
    if not base_image.archive(places).exists():
        make = partial(base_image.provide, places, Path(sys.executable))
        steps.append(Step("base image", make, base_image.EXPECTED_S, after))
    missing = [name for name in PACKAGES if not wheels_mark(places, name).exists()]
    if missing:
        steps.append(Step("Python packages", partial(download_wheels, places, missing), WHEELS_S))
    return steps


def provide_local(places: Places, plans: list[ImagePlan]) -> None:
    """Build what is missing and give it to every node."""
    nodes = nodes_of(places)
    present = set.intersection(*(node.image_names(plan) for plan in nodes))
    wanted = [plan for plan in plans if plan.reference not in present]
    unbuilt = [plan for plan in wanted if not dependencies_archive(places, plan).exists()]
    if unbuilt:
        run_steps(preparations(places))
        with_builder(places, unbuilt)
    machine_code.compile_path(places, [plan for plan in wanted if plan.is_compiled])
    run_steps([Step(f"image {plan.name}", partial(bring_in, places, nodes, plan), SOURCE_S) for plan in wanted])
    kept = [name for plan in plans for name in (plan.reference, plan.dependencies)]
    places.kept_images.write_text(json.dumps(kept))


def dependencies_archive(places: Places, plan: ImagePlan) -> Path:
    """Return where the image below the source's layer is kept."""
    return places.cache / "images" / f"{plan.name}-{plan.dependencies_key}.tar"


def wheels_mark(places: Places, name: str) -> Path:
    """Return a file that is there when the wheels of this very lock file are."""
    lock = (PROJECT / "requirements" / f"{name}.txt").read_bytes()
    return places.cache / "wheels" / f".{name}-{thin_layer.digest(lock)[7:19]}"


def download_wheels(places: Places, names: list[str]) -> None:
    """Download the wheels of the images' lock files, verified by their hashes, for the base's Python."""
    target = places.cache / "wheels"
    target.mkdir(parents=True, exist_ok=True)
    for name in names:
        lock = PROJECT / "requirements" / f"{name}.txt"
        options = ["--quiet", "--require-hashes", "--only-binary=:all:", f"--dest={target}", *platform_options()]
        run([sys.executable, "-m", "pip", "download", *options, "--requirement", lock])
        wheels_mark(places, name).touch()


def platform_options() -> list[str]:
    """Return pip's options for the base's Python where this interpreter is of another version."""
    if f"{sys.version_info.major}.{sys.version_info.minor}" == base_image.PYTHON:
        return []
    abi = f"cp{base_image.PYTHON.replace('.', '')}"
    machine_name = os.uname().machine
    platforms = [f"manylinux_2_{minor}_{machine_name}" for minor in range(36, 4, -1)]  # the base has glibc 2.36
    options = [f"--python-version={base_image.PYTHON}", "--implementation=cp"]
    options += [f"--abi={name}" for name in (abi, "abi3", "none")]
    return options + [f"--platform={name}" for name in (*platforms, f"manylinux2014_{machine_name}", "any")]


def with_builder(places: Places, plans: list[ImagePlan]) -> None:
    """Build the dependencies of the images with buildah, in a storage that is thrown away after it."""
    storage = places.cache / "buildah"
    discard_storage(storage)
    blobs = Path("/var/lib/containers")
    had_blobs = blobs.exists()
    try:
        import_base(places, storage)
        # In sequence: two installations at once gain nothing on two processors and contend for the storage.
        before: tuple[str, ...] = ()
        steps = []
        for plan in plans:
            title = f"dependencies of {plan.name}"
            steps.append(Step(title, partial(build_dependencies, places, storage, plan), BUILD_S, before))
            before = (title,)
        run_steps(steps)
    finally:
        discard_storage(storage)
        if not had_blobs:
            shutil.rmtree(blobs, ignore_errors=True)


def buildah(storage: Path, *words: str | Path) -> str:
    """Run buildah on the storage."""
    return run(["buildah", f"--root={storage}/root", f"--runroot={storage}/run", "--storage-driver=overlay", *words])


def import_base(places: Places, storage: Path) -> None:
    """Make the base known to buildah."""
    container = buildah(storage, "from", "scratch").strip()
    buildah(storage, "add", container, base_image.archive(places), "/")
    buildah(storage, "commit", "--quiet", container, BASE_REFERENCE)


def build_dependencies(places: Places, storage: Path, plan: ImagePlan) -> None:
    """Build the target below the source's layer and keep it as an archive."""
    archive = dependencies_archive(places, plan)
    archive.parent.mkdir(parents=True, exist_ok=True)
    arguments = [f"BASE_IMAGE={BASE_REFERENCE}", "PIP_OPTIONS=--no-index --find-links=/wheels"]
    options = [word for argument in arguments for word in ("--build-arg", argument)]
    options += ["--isolation=chroot", "--layers", "--pull=false", f"--volume={places.cache}/wheels:/wheels:ro"]
    options += ["--file", str(PROJECT / "images" / "Dockerfile"), "--target", f"{plan.name}-deps"]
    buildah(storage, "bud", *options, "--tag", plan.dependencies, PROJECT)
    scratch = archive.with_suffix(".new")
    scratch.unlink(missing_ok=True)
    buildah(storage, "push", plan.dependencies, f"docker-archive:{scratch}:{plan.dependencies}")
    for outdated in archive.parent.glob(f"{plan.name}-*.tar"):
        outdated.unlink()
    scratch.replace(archive)


def discard_storage(storage: Path) -> None:
    """Remove buildah's storage with all that is mounted in it."""
    if storage.exists():
        machine.unmount_below(storage)
        shutil.rmtree(storage)


def bring_in(places: Places, nodes: list[NodePlan], plan: ImagePlan) -> None:
    """Give every node the image: what is below when it lacks it, then the source's layer."""
    layer = thin_layer.make_layer(compiled_source(places, plan))
    for target in nodes:
        node.import_images(target, {plan.dependencies: dependencies_archive(places, plan)})
        archive = target.folder / f"{plan.name}.tar"
        thin_layer.write_archive(describe(target, plan.dependencies), plan.reference, layer, archive)
        node.ctr(target, "images", "import", archive)
        archive.unlink()


def describe(target: NodePlan, reference: str) -> thin_layer.Below:
    """Ask the node for an image's manifest and configuration."""
    row = node.ctr(target, "images", "ls", f"name=={reference}").splitlines()[1].split()
    manifest = json.loads(node.ctr(target, "content", "get", row[2]))
    config = json.loads(node.ctr(target, "content", "get", manifest["config"]["digest"]))
    return thin_layer.Below(manifest, config)


def compiled_source(places: Places, plan: ImagePlan) -> Mapping[str, bytes]:
    """Return the image's packages with the base's Python's bytecode, and its machine code (path in it → content)."""
    root = base_image.root_folder(places)
    staging = root / "tmp" / f"{plan.name}-{os.getpid()}"
    try:
        for package in PACKAGES[plan.name]:
            for file in source_files(PROJECT / package):
                target = staging / file.relative_to((PROJECT / package).parent)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, target)
        inside = f"/{staging.relative_to(root)}"
        paths = ["-s", inside, "-p", SOURCE_FOLDER, inside]
        run(["chroot", root, "python3", "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", *paths])
        files = {str(file.relative_to(staging)): file.read_bytes() for file in staging.rglob("*") if file.is_file()}
        if plan.is_compiled:
            files |= machine_code.read_libraries(places, plan.name)
        return {f"{SOURCE_FOLDER}/{name}": content for name, content in files.items()}
    finally:
        shutil.rmtree(staging, ignore_errors=True)
