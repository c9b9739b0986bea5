"""Image archives made without a builder."""

import hashlib
import io
import json
import tarfile
from pathlib import Path

from devcluster.one_binary_image import write_image
from devcluster.thin_layer import Below, make_layer, write_archive


def read_all(archive: bytes) -> dict[str, bytes]:
    """Return the archive's files by name."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        files = ((info.name, opened.extractfile(info)) for info in opened)
        return {name: content.read() for name, content in files if content is not None}


def test_an_image_of_one_program_runs_it_as_nobody_in_particular(tmp_path: Path) -> None:
    program = tmp_path / "pause"
    program.write_bytes(b"\x7fELF")
    write_image(program, "localhost/pause:1", "amd64", tmp_path / "image.tar")
    files = read_all((tmp_path / "image.tar").read_bytes())
    manifest = json.loads(files["manifest.json"])[0]
    config = json.loads(files[manifest["Config"]])
    assert manifest["RepoTags"] == ["localhost/pause:1"]
    assert config["config"] == {"Entrypoint": ["/pause"], "User": "65532:65532"}
    assert config["rootfs"]["diff_ids"] == [f"sha256:{hashlib.sha256(files['layer.tar']).hexdigest()}"]
    assert read_all(files["layer.tar"]) == {"pause": b"\x7fELF"}


def test_equal_files_give_an_equal_layer_in_any_order() -> None:
    assert make_layer({"/opt/a": b"1", "/opt/b/c": b"2"}) == make_layer({"/opt/b/c": b"2", "/opt/a": b"1"})


def test_the_thin_layer_goes_on_top_and_leaves_the_rest_as_it_was(tmp_path: Path) -> None:
    below_layer = {"mediaType": "application/vnd.docker.image.rootfs.diff.tar", "digest": "sha256:aa", "size": 3}
    below = Below(
        {"mediaType": "application/vnd.docker.distribution.manifest.v2+json", "config": {}, "layers": [below_layer]},
        {"config": {"User": "65532"}, "rootfs": {"type": "layers", "diff_ids": ["sha256:bb"]}},
    )
    layer = make_layer({"/opt/switchboard/a.py": b"a = 1\n"})
    write_archive(below, "localhost/x:1", layer, tmp_path / "thin.tar")
    files = read_all((tmp_path / "thin.tar").read_bytes())
    entry = json.loads(files["index.json"])["manifests"][0]
    manifest = json.loads(files[f"blobs/sha256/{entry['digest'][7:]}"])
    config = json.loads(files[f"blobs/sha256/{manifest['config']['digest'][7:]}"])
    layer_digest = f"sha256:{hashlib.sha256(layer).hexdigest()}"
    assert entry["annotations"]["io.containerd.image.name"] == "localhost/x:1"
    assert [item["digest"] for item in manifest["layers"]] == ["sha256:aa", layer_digest]
    assert config["rootfs"]["diff_ids"] == ["sha256:bb", layer_digest]
    assert config["config"] == {"User": "65532"}
    assert below.config["rootfs"]["diff_ids"] == ["sha256:bb"]
