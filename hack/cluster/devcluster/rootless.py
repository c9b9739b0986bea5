"""A control plane alone, as an ordinary user, on free ports of the loopback: for integration tests.

etcd and the API server, and the controller manager where asked for. No node, no scheduler, so no pod ever runs.
Any number of them may run at once, each with a state folder of its own.
"""

import datetime
import itertools
import json
import os
import random
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from devcluster import binaries, control_plane, pki, processes
from devcluster.commands import succeeds
from devcluster.control_plane import ControlPlane
from devcluster.faults import ClusterError, DeadlinePassed
from devcluster.settings import Places, from_environment
from devcluster.waiting import wait_until

READY_TIMEOUT_S = 90  # about four seconds on an idle machine; generous, because tests share it
ATTEMPTS = 3  # another process may take a free port before we do
# Below the ports of outgoing connections on Linux: a server that was killed finds its port free when it is back
PORTS = range(11_000, 15_000)


@contextmanager
def running(state: Path, *, with_controllers: bool = False) -> Iterator[Path]:
    """Run a control plane for as long as the block lasts; the value is the administrator's kubeconfig."""
    try:
        yield start(state, with_controllers=with_controllers)
    finally:
        stop(state)


def start(state: Path, *, with_controllers: bool = False, places: Places | None = None) -> Path:
    """Bring up a control plane in the folder and return its kubeconfig when the API server is ready.

    Building its programs comes first when they are not cached. What already runs in the folder is kept, and so is
    what a control plane which was there before has stored. Raises ClusterError with the end of the log of a program
    that ended.
    """
    found = binaries.locate(places or from_environment(), os.environ)
    binaries.provide(found, binaries.CONTROL_PLANE)
    state = state.resolve()
    if ports_path(state).exists():
        return start_once(state, found, with_controllers)
    for attempt in range(ATTEMPTS):
        try:
            return start_once(state, found, with_controllers)
        except ClusterError:
            stop(state)
            if attempt == ATTEMPTS - 1:
                raise
    raise AssertionError("the last attempt returns or raises")


def start_once(state: Path, found: binaries.Binaries, with_controllers: bool) -> Path:
    """Start what does not run yet and wait until the API server is ready."""
    state.mkdir(parents=True, exist_ok=True)
    plane = plan(state)
    demand = pki.Demand(plane.server, plane.server_names)
    pki.write_all(plane.pki, demand, datetime.datetime.now(datetime.UTC))
    programs = [
        control_plane.etcd(plane, found.path("etcd")),
        control_plane.api_server(plane, found.path("kube-apiserver")),
    ]
    processes.ensure(state, programs)
    kubeconfig = plane.pki / "admin.kubeconfig"
    names = [program.name for program in programs]
    wait_until_ready(state, names, found.path("kubectl"), kubeconfig)
    if with_controllers:
        # Not before: it waits 10 s for the API server, and ends
        manager = control_plane.controller_manager(plane, found.path("kube-controller-manager"))
        processes.ensure(state, [manager])
    return kubeconfig


def wait_until_ready(state: Path, names: list[str], kubectl: Path, kubeconfig: Path) -> None:
    """Wait until the API server says that it is ready; raise at once when a program ends."""

    def ready() -> bool:
        processes.require_running(state, names)
        return succeeds([kubectl, f"--kubeconfig={kubeconfig}", "get", "--raw=/readyz"])

    try:
        wait_until(ready, "the API server", READY_TIMEOUT_S)
    except DeadlinePassed as error:
        raise DeadlinePassed(f"{error}; see {processes.log_path(state, 'kube-apiserver')}") from error


def stop(state: Path) -> None:
    """End the control plane of the folder and remove what it kept there, but for its logs."""
    state = state.resolve()
    processes.stop(state, grace_s=0)  # nothing of it is kept, so nothing has to be put in order
    for name in ("etcd", "pki"):
        shutil.rmtree(state / name, ignore_errors=True)
    ports_path(state).unlink(missing_ok=True)


def plan(state: Path) -> ControlPlane:
    """Return the control plane of the folder, with the ports that it has or, when it is new, free ones."""
    chosen = ports_path(state)
    if not chosen.exists():
        chosen.write_text(json.dumps(free_ports(3)))
    api, client, peer = json.loads(chosen.read_text())
    return ControlPlane(
        state=state,
        address="127.0.0.1",
        port=api,
        etcd_ports=(client, peer),
        service_cidr="10.218.0.0/20",
        service_address="10.218.0.1",
        routes_services=False,
    )


def ports_path(state: Path) -> Path:
    """Return the file with the ports of the control plane in the folder; it is there as long as the plane is."""
    return state / "ports.json"


def free_ports(count: int) -> list[int]:
    """Return ports of the loopback that nobody uses at this moment."""
    drawn = random.SystemRandom().sample(PORTS, len(PORTS))
    return list(itertools.islice((port for port in drawn if is_free(port)), count))


def is_free(port: int) -> bool:
    """Tell whether nobody uses the port of the loopback at this moment."""
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
