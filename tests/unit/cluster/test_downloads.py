"""Programs from releases; the releases are files here."""

import hashlib
import io
import tarfile
from pathlib import Path

import pytest
from devcluster.downloads import Release, fetch_releases, find_checksum, known_releases

HEX = hashlib.sha256(b"program").hexdigest()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(f"{HEX}\n", HEX, id="nothing but a checksum"),
        pytest.param(f"{HEX}  kubelet\n", HEX, id="a checksum and a name"),
        pytest.param(f"{'0' * 64}  other\n{HEX} *kubelet\n", HEX, id="one row of several"),
        pytest.param(f"{'0' * 64}  other\n", None, id="the name is not in the list"),
        pytest.param("<html>Please log in</html>", None, id="a captive portal's page"),
        pytest.param("", None, id="nothing"),
    ],
)
def test_checksum(text: str, expected: str | None) -> None:
    assert find_checksum(text, "kubelet") == expected


def release_in(folder: Path, name: str, content: bytes, member: str | None = None) -> Release:
    (folder / name).write_bytes(content)
    (folder / f"{name}.sha256").write_text(hashlib.sha256(content).hexdigest())
    url = (folder / name).as_uri()
    return Release(url, f"{url}.sha256", member)


def archive_with(member: str, content: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        info = tarfile.TarInfo(member)
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def test_a_program_and_a_member_of_an_archive_become_executable_files(tmp_path: Path) -> None:
    releases = {
        "kubelet": release_in(tmp_path, "kubelet", b"program"),
        "etcd": release_in(tmp_path, "etcd.tar.gz", archive_with("etcd-v1/etcd", b"store"), "etcd-v1/etcd"),
    }
    target = tmp_path / "bin"
    assert fetch_releases(["kubelet", "etcd"], target, releases)
    assert {path.name: path.read_bytes() for path in target.iterdir()} == {"kubelet": b"program", "etcd": b"store"}
    assert all(path.stat().st_mode & 0o111 for path in target.iterdir())


def test_all_or_none(tmp_path: Path) -> None:
    missing = Release((tmp_path / "nowhere").as_uri(), (tmp_path / "nowhere.sha256").as_uri())
    releases = {"kubelet": release_in(tmp_path, "kubelet", b"program"), "kubectl": missing}
    assert not fetch_releases(["kubelet", "kubectl"], tmp_path / "bin", releases)
    assert not (tmp_path / "bin").exists()


def test_what_does_not_fit_its_checksum_is_not_taken(tmp_path: Path) -> None:
    release = release_in(tmp_path, "kubelet", b"program")
    (tmp_path / "kubelet").write_bytes(b"something else")
    assert not fetch_releases(["kubelet"], tmp_path / "bin", {"kubelet": release})


def test_a_program_without_a_release_is_left_to_the_build(tmp_path: Path) -> None:
    assert not fetch_releases(["pause"], tmp_path, known_releases("amd64", "1.31.0"))
