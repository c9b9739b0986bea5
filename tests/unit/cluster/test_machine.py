"""What the local cluster asks of its machine."""

import os
from pathlib import Path

import pytest
from devcluster import local
from devcluster.binaries import Binaries
from devcluster.faults import PreconditionUnmet
from devcluster.settings import Places


def cluster_in(state: Path, cache: Path) -> local.LocalCluster:
    return local.LocalCluster(Places(state, cache), Binaries(None, cache))


def test_without_root_the_message_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(PreconditionUnmet, match="sudo make cluster") as raised:
        local.require_machine(cluster_in(Path("/srv/c"), tmp_path))
    assert "\n" not in str(raised.value)


def test_a_state_folder_too_deep_for_sockets_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(PreconditionUnmet, match="SWITCHBOARD_CLUSTER_STATE is too long"):
        local.require_machine(cluster_in(Path("/srv") / ("x" * 60), tmp_path))


def test_down_without_a_cluster_does_nothing(tmp_path: Path) -> None:
    local.down(cluster_in(tmp_path / "never-made", tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_down_of_a_cluster_of_root_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(PreconditionUnmet, match="sudo make down"):
        local.down(cluster_in(tmp_path, tmp_path))
