"""Make container images without a builder: one static program in one layer (docker-archive)."""

import hashlib
import io
import json
import tarfile
from pathlib import Path

USER = "65532:65532"


def add_file(archive: tarfile.TarFile, name: str, content: bytes, mode: int = 0o644) -> None:
    """Add a file to the archive, with no time or owner, so that equal content gives an equal archive."""
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(content), mode
    archive.addfile(info, io.BytesIO(content))


def write_image(program: Path, reference: str, architecture: str, target: Path) -> None:
    """Write an image that runs the program, under this reference."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as layer_archive:
        add_file(layer_archive, program.name, program.read_bytes(), 0o755)
    layer = buffer.getvalue()
    config = json.dumps(
        {
            "architecture": architecture,
            "os": "linux",
            "config": {"Entrypoint": [f"/{program.name}"], "User": USER},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
            "history": [{"created_by": program.name}],
        }
    ).encode()
    config_name = f"{hashlib.sha256(config).hexdigest()}.json"
    manifest = [{"Config": config_name, "RepoTags": [reference], "Layers": ["layer.tar"]}]
    with tarfile.open(target, "w") as archive:
        add_file(archive, config_name, config)
        add_file(archive, "layer.tar", layer)
        add_file(archive, "manifest.json", json.dumps(manifest).encode())
