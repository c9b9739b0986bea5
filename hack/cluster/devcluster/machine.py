"""What a cluster changes on its machine outside of its own folder: record it before, put it back after."""

import json
import shutil
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from devcluster.commands import run
from devcluster.faults import DeadlinePassed
from devcluster.processes import end, is_alive
from devcluster.waiting import wait_until

# kubelet sets these for the whole machine. Every containerd and kubelet watches files: the last one has to
# suffice for two nodes full of pods, and 128, the kernel's default, does not.
KUBELET_SYSCTLS = (
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
)
INOTIFY_SYSCTL = "fs/inotify/max_user_instances"
INOTIFY_INSTANCES = 1024

# Places that the programs of a node write to whatever they are told.
HARD_CODED = (
    "/var/lib/kubelet",
    "/var/log/containers",
    "/var/log/pods",
    "/var/lib/cni",
    "/run/containerd",
    "/run/flannel",
    "/run/runc",
    "/run/mount",
    "/run/xtables.lock",
    "/etc/cni/net.d",
    "/opt/cni",
    "/opt/containerd",
    "/usr/libexec/kubernetes",
    "/var/lib/dockershim",
)


@dataclass(frozen=True, slots=True)
class FoundState:
    """The machine as it was before the cluster touched it, during the boot of this id."""

    boot_id: str
    sysctls: dict[str, str]
    existing: list[str]
    netns_was_mounted: bool
    controllers: str | None

    @classmethod
    def load(cls, path: Path) -> "FoundState | None":
        """Return the record, None when none was written."""
        return cls(**json.loads(path.read_text())) if path.exists() else None


def observe_machine() -> FoundState:
    """Return the machine's present state."""
    names = (*KUBELET_SYSCTLS, INOTIFY_SYSCTL)
    unified = Path("/sys/fs/cgroup/cgroup.subtree_control")
    return FoundState(
        boot_id=boot_id(),
        sysctls={name: sysctl(name).read_text().strip() for name in names if sysctl(name).exists()},
        existing=[path for path in HARD_CODED if Path(path).exists()],
        netns_was_mounted=is_mounted("/run/netns"),
        controllers=unified.read_text().strip() if unified.exists() else None,
    )


def record(path: Path) -> None:
    """Write the machine's state down, unless that was done before."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = path.with_suffix(".new")
        scratch.write_text(json.dumps(asdict(observe_machine())))
        scratch.replace(path)  # a record is whole or it is not there


def boot_id() -> str:
    """Return what identifies this boot of the machine."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def sysctl(name: str) -> Path:
    """Return the file of a kernel parameter."""
    return Path("/proc/sys") / name


def raise_inotify_limit() -> None:
    """Let the cluster's programs watch as many files as they want to."""
    path = sysctl(INOTIFY_SYSCTL)
    if int(path.read_text()) < INOTIFY_INSTANCES:
        path.write_text(str(INOTIFY_INSTANCES))


def restore(found: FoundState) -> None:
    """Put back what the record says and remove what it does not know."""
    for name, value in found.sysctls.items():
        if sysctl(name).read_text().strip() != value:
            sysctl(name).write_text(value)
    for path in (Path(name) for name in HARD_CODED if name not in found.existing):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    if not found.netns_was_mounted and is_mounted("/run/netns") and not any(Path("/run/netns").iterdir()):
        run(["umount", "/run/netns"])
        Path("/run/netns").rmdir()
    if found.controllers is not None:
        restore_controllers(found.controllers)


def restore_controllers(before: str) -> None:
    """Turn off those controllers of the unified hierarchy's root which were off before."""
    unified = Path("/sys/fs/cgroup/cgroup.subtree_control")
    for name in set(unified.read_text().split()) - set(before.split()):
        unified.write_text(f"-{name}")


def is_mounted(point: str) -> bool:
    """Tell whether something is mounted there; os.path.ismount does not see a folder bound onto itself."""
    return any(line.split()[1] == point for line in Path("/proc/mounts").read_text().splitlines())


def hierarchies() -> list[Path]:
    """Return the roots of the control-group hierarchies that pods live in: several for v1, one for v2."""
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    first = [Path(fields[1]) for fields in mounts if fields[2] == "cgroup"]
    return first or [Path(fields[1]) for fields in mounts if fields[2] == "cgroup2"]


def make_cgroup(name: str) -> None:
    """Make the control group in every hierarchy: kubelet refuses a root that lacks one."""
    for root in hierarchies():
        group = root / name
        group.mkdir(exist_ok=True)
        if (root / "cpuset.cpus").exists():  # v1: a new group has no processors and takes no process
            for field in ("cpuset.cpus", "cpuset.mems"):
                (group / field).write_text((root / field).read_text())
        if (root / "cgroup.subtree_control").exists():
            enable_controllers(root)


def enable_controllers(root: Path) -> None:
    """Give the groups below the root of the unified hierarchy the controllers that kubelet uses."""
    available = (root / "cgroup.controllers").read_text().split()
    wanted = [name for name in ("cpu", "cpuset", "io", "memory", "pids", "hugetlb") if name in available]
    (root / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in wanted))


def cgroup_folders(names: Iterable[str]) -> list[Path]:
    """Return the folders of the control groups and of all below, the deepest first."""
    roots = [root / name for root in (*hierarchies(), Path("/sys/fs/cgroup/unified")) for name in names]
    found = {folder for root in roots if root.is_dir() for folder in (root, *root.rglob("*")) if folder.is_dir()}
    return sorted(found, key=lambda folder: len(folder.parts), reverse=True)


def kill_cgroups(names: Iterable[str]) -> None:
    """Kill every process in the control groups."""
    folders = cgroup_folders(names)

    def members() -> list[int]:
        lines = [line for folder in folders for line in read_or_empty(folder / "cgroup.procs").split()]
        return [pid for pid in {int(line) for line in lines} if is_alive(pid)]

    def empty() -> bool:
        end(members(), 0)
        return not members()

    wait_until(empty, "the pods' processes to end", 20)


def read_or_empty(path: Path) -> str:
    """Return the file's text, nothing when it is gone."""
    try:
        return path.read_text()
    except OSError:
        return ""


def remove_cgroups(names: Iterable[str]) -> None:
    """Remove the control groups; a group stays busy until its last zombie is reaped, so this may take seconds."""
    wanted = list(names)

    def removed() -> bool:
        for folder in cgroup_folders(wanted):
            try:
                folder.rmdir()
            except OSError:
                continue
        return not cgroup_folders(wanted)

    try:
        wait_until(removed, "the control groups to be empty", 20)
    except DeadlinePassed as error:
        raise DeadlinePassed(f"{error}: {cgroup_folders(wanted)[0]} is busy; try `make down` again") from error


def unmount_below(folder: Path) -> None:
    """Unmount everything below the folder, the newest mount first."""
    points = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for point in reversed(points):
        if point.startswith(f"{folder}/"):
            run(["umount", point.replace("\\040", " ")])
