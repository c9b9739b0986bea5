"""The local cluster comes up, is repaired and goes without a trace. Takes the cluster of this machine for itself."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from devcluster import local, machine, processes
from devcluster.settings import HOST_DEVICE, NODES, PROJECT, from_environment

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(os.geteuid() != 0, reason="the local cluster needs root"),
]
SECOND_START_S = 30  # promised for a machine with two processors that does nothing else
OURS = ("switchboard", "k8s.io", "sb-")


@dataclass(frozen=True)
class Traces:
    """What a cluster could leave on its machine, as far as it is a cluster's."""

    processes: frozenset[str]
    mounts: frozenset[str]
    namespaces: frozenset[str]
    devices: frozenset[str]
    routes: frozenset[str]
    cgroups: frozenset[str]
    sysctls: tuple[tuple[str, str], ...]
    folders: frozenset[str]


def run(*words: str) -> str:
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout


def tool(*words: str) -> str:
    """Run the tool, forced to the local provider; return what it said."""
    environment = {**os.environ, "CLUSTER": "local"}
    argv = [sys.executable, str(PROJECT / "hack" / "cluster"), *words]
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stderr


def observe() -> Traces:
    """Look at the whole machine; of folders and groups only what is or could be the cluster's."""
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    groups = [str(path) for path in Path("/sys/fs/cgroup").rglob("*") if path.is_dir()]
    names = (*machine.KUBELET_SYSCTLS, machine.INOTIFY_SYSCTL, "net/ipv4/ip_forward")
    return Traces(
        processes=frozenset(f"{part.pid} {part.name}" for part in processes.find(from_environment().state)),
        mounts=frozenset(mounts),
        namespaces=frozenset(path.name for path in Path("/run/netns").glob("*")),
        devices=frozenset(path.name for path in Path("/sys/class/net").iterdir()),
        routes=frozenset(run("ip", "route").splitlines()),
        cgroups=frozenset(name for name in groups if any(word in name for word in OURS)),
        sysctls=tuple((name, machine.sysctl(name).read_text()) for name in names if machine.sysctl(name).exists()),
        folders=frozenset(path for path in machine.HARD_CODED if Path(path).exists()),
    )


def pid_of(name: str) -> int:
    return next(found.pid for found in processes.find(from_environment().state) if found.is_main and found.name == name)


@pytest.fixture
def gone() -> Iterator[Traces]:
    """The machine without a cluster, as it was before; a cluster that was up comes back after the test."""
    was_up = from_environment().state.exists()
    tool("down")
    yield observe()
    tool("down")
    if was_up:
        tool("up")


def test_down_leaves_nothing_behind(gone: Traces) -> None:
    tool("up")
    assert local.is_healthy(local.locate(from_environment()))
    assert observe() != gone
    tool("down")
    assert observe() == gone
    assert not from_environment().state.exists()


def test_the_second_start_takes_less_than_half_a_minute(gone: Traces) -> None:
    tool("up")
    tool("down")
    begun = time.monotonic()
    tool("up")
    assert time.monotonic() - begun < SECOND_START_S
    begun = time.monotonic()
    tool("up")
    assert time.monotonic() - begun < 5, "a healthy cluster is only looked at"


@pytest.mark.parametrize(
    "victims",
    [
        pytest.param(["kube-scheduler"], id="a dead scheduler"),
        pytest.param(["etcd"], id="a dead etcd"),
        pytest.param(
            [f"containerd-{NODES[0].name}", f"kubelet-{NODES[1].name}"], id="a dead containerd and a dead kubelet"
        ),
    ],
)
def test_up_repairs(gone: Traces, victims: list[str]) -> None:
    tool("up")
    kept = pid_of(f"kube-proxy-{NODES[1].name}")
    processes.end([pid_of(name) for name in victims], 0)
    tool("up")
    assert local.is_healthy(local.locate(from_environment()))
    assert pid_of(f"kube-proxy-{NODES[1].name}") == kept, "what was alive stayed"


def test_a_crash_of_everything_is_taken_down(gone: Traces) -> None:
    tool("up")
    processes.end([found.pid for found in processes.find(from_environment().state) if found.is_main], 0)
    assert observe() != gone, "pods and mounts outlive what started them"
    tool("down")
    assert observe() == gone


def test_a_start_that_was_killed_is_continued_and_taken_down(gone: Traces) -> None:
    argv = [sys.executable, str(PROJECT / "hack" / "cluster"), "up"]
    starting = subprocess.Popen(argv, env={**os.environ, "CLUSTER": "local"}, stderr=subprocess.DEVNULL)
    while not Path(f"/sys/class/net/{HOST_DEVICE}").exists():
        assert starting.poll() is None
    starting.kill()
    starting.wait()
    tool("up")
    assert local.is_healthy(local.locate(from_environment()))
    tool("down")
    assert observe() == gone
