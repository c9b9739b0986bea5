"""Faults of the network and of the control plane, for the local cluster alone: its nodes are on this machine."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterable, Iterator

import pytest
from devcluster import processes
from devcluster.settings import NODES, from_environment

TABLE = "switchboard_fault"
API_SERVER = "kube-apiserver"


def require_local_cluster() -> None:
    """Skip the test elsewhere."""
    provider = from_environment().provider
    if os.geteuid() != 0 or not provider.exists() or provider.read_text().strip() != "local":
        pytest.skip("only the local cluster lets its network be cut, and only by root")


@contextlib.contextmanager
def cut(ones: Iterable[str], others: Iterable[str]) -> Iterator[None]:
    """No packet passes between the addresses, in either direction, and nobody is told.

    Between pods of one node it does not hold: what a bridge forwards meets no rule.
    """
    rules = [
        f"ip saddr {{ {', '.join(froms)} }} ip daddr {{ {', '.join(tos)} }} drop"
        for froms, tos in ((list(ones), list(others)), (list(others), list(ones)))
    ]
    # Before connection tracking, so that it holds for connections that are there, and for the addresses of Services
    chain = ["type filter hook prerouting priority raw", "policy accept", *rules]
    table = [f"table ip {TABLE} {{", "chain cut {", *chain, "}", "}"]
    try:
        for node in NODES:
            nft(node.netns, table)
        yield
    finally:
        for node in NODES:
            nft(node.netns, [f"table ip {TABLE}", f"delete table ip {TABLE}"])


def nft(netns: str, lines: list[str]) -> None:
    command = ["nsenter", f"--net=/run/netns/{netns}", "--", "nft", "-f", "-"]
    done = subprocess.run(command, input="\n".join(lines) + "\n", text=True, check=False, capture_output=True)
    assert done.returncode == 0, done.stderr


@contextlib.contextmanager
def node_cut_off() -> Iterator[str]:
    """The second node is unplugged; its name."""
    first, second = NODES
    port = ("ip", "-n", first.netns, "link", "set", f"to-{second.name}")
    try:
        subprocess.run([*port, "down"], check=True)
        yield second.name
    finally:
        subprocess.run([*port, "up"], check=True)


@contextlib.contextmanager
def api_server_paused() -> Iterator[None]:
    """The API server takes connections and answers none."""
    found = [part.pid for part in processes.find(from_environment().state) if part.name == API_SERVER and part.is_main]
    assert found, "the API server does not run on this machine"
    try:
        for pid in found:
            os.kill(pid, signal.SIGSTOP)
        yield
    finally:
        for pid in found:
            os.kill(pid, signal.SIGCONT)


def api_addresses(service_address: str) -> list[str]:
    """Where pods reach the API server."""
    return [service_address, NODES[0].address]
