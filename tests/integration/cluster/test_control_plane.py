"""The control plane alone: what integration tests stand on."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from devcluster import binaries, processes, rootless
from devcluster.faults import ClusterError
from devcluster.kubectl import Kubectl, is_true
from devcluster.settings import PROJECT, from_environment
from devcluster.waiting import wait_until

pytestmark = pytest.mark.integration


def kubectl_for(kubeconfig: Path) -> Kubectl:
    return Kubectl(binaries.locate(from_environment(), os.environ).path("kubectl"), kubeconfig)


def test_two_at_once_share_nothing_and_leave_nothing(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    with rootless.running(one) as first, rootless.running(other) as second:
        kubectl_for(first)("create", "namespace", "mine")
        assert "mine" in {item["metadata"]["name"] for item in kubectl_for(first).items("namespaces")}
        assert "mine" not in {item["metadata"]["name"] for item in kubectl_for(second).items("namespaces")}
    assert processes.find(one) == processes.find(other) == []
    assert {path.name for path in one.iterdir()} == {"log"}


def test_controllers_act_when_they_are_asked_for(tmp_path: Path) -> None:
    with rootless.running(tmp_path, with_controllers=True) as kubeconfig:
        kubectl = kubectl_for(kubeconfig)
        kubectl("create", "deployment", "web", "--image=example")
        wait_until(lambda: len(kubectl.items("replicasets")) == 1, "a ReplicaSet", 60)
        [deployment] = kubectl.items("deployments")
        assert not is_true("Available", deployment)


def test_the_command_prints_the_kubeconfig_and_a_second_one_finds_it_running(tmp_path: Path) -> None:
    tool = [sys.executable, str(PROJECT / "hack" / "cluster"), "control-plane"]

    def run(action: str) -> str:
        done = subprocess.run([*tool, action, "--state", str(tmp_path)], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    try:
        path = run("up")
        before = {found.pid for found in processes.find(tmp_path)}
        assert json.loads(Path(path).read_text())["kind"] == "Config"
        assert run("up") == path
        assert {found.pid for found in processes.find(tmp_path)} == before
    finally:
        run("down")
    assert processes.find(tmp_path) == []


def test_a_killed_part_is_started_again(tmp_path: Path) -> None:
    with rootless.running(tmp_path) as kubeconfig:
        kubectl_for(kubeconfig)("create", "namespace", "kept")
        processes.end([found.pid for found in processes.find(tmp_path) if found.name == "kube-apiserver"], 0)
        assert rootless.start(tmp_path) == kubeconfig
        assert "kept" in {item["metadata"]["name"] for item in kubectl_for(kubeconfig).items("namespaces")}


def test_a_start_that_fails_removes_nothing_that_was_there(tmp_path: Path) -> None:
    with rootless.running(tmp_path) as kubeconfig:
        kubectl_for(kubeconfig)("create", "namespace", "kept")
        processes.stop(tmp_path, ["kube-apiserver"], 0)
        with socket.create_server(("127.0.0.1", rootless.plan(tmp_path).port)), pytest.raises(ClusterError):
            rootless.start(tmp_path)
        rootless.start(tmp_path)
        assert "kept" in {item["metadata"]["name"] for item in kubectl_for(kubeconfig).items("namespaces")}


def test_a_part_that_cannot_run_ends_in_one_line_with_its_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "bin"
    broken.mkdir()
    for name in binaries.IN_ONE_FILE:
        (broken / name).write_text("#!/bin/sh\necho 'no luck today'; exit 3\n")
        (broken / name).chmod(0o755)
    monkeypatch.setenv("K8S_BIN_DIR", str(broken))
    with pytest.raises(ClusterError, match=r"has ended; see .*no luck today") as raised:
        rootless.start(tmp_path / "state")
    assert "\n" not in str(raised.value)
