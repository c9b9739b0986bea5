"""Where the tool keeps things."""

from pathlib import Path

from devcluster.binaries import Binaries, version_key
from devcluster.settings import KUBERNETES_VERSION, read_places


def test_the_cache_follows_xdg() -> None:
    assert read_places({"HOME": "/home/amy"}).cache == Path("/home/amy/.cache/switchboard")
    assert read_places({"HOME": "/home/amy", "XDG_CACHE_HOME": "/big"}).cache == Path("/big/switchboard")


def test_the_state_can_be_moved() -> None:
    assert read_places({"SWITCHBOARD_CLUSTER_STATE": "/srv/c"}).state == Path("/srv/c")


def test_a_folder_that_the_user_gives_goes_before_the_cache(tmp_path: Path) -> None:
    given, cached = tmp_path / "given", tmp_path / "cached"
    for folder, names in ((given, ("etcd",)), (cached, ("etcd", "kubectl"))):
        folder.mkdir()
        for name in names:
            (folder / name).touch()
    found = Binaries(given, cached)
    assert found.find("etcd") == given / "etcd"
    assert found.find("kubectl") == cached / "kubectl"
    assert found.find("helm") is None


def test_the_cache_is_kept_by_version() -> None:
    assert version_key().startswith(f"kubernetes-{KUBERNETES_VERSION}-")
