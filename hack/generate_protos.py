"""Generate the Python modules of proto/ into wire/; with --check, fail when the committed ones differ.

Messages only: services are wired by hand with grpc's generic handlers, because every long stream carries raw bytes.
"""

import argparse
import filecmp
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCES = sorted((ROOT / "proto").rglob("*.proto"))


def generate(out: Path) -> list[Path]:
    """Write the modules and their type stubs below `out`; return their paths relative to it."""
    plugin = Path(sys.executable).parent / "protoc-gen-mypy"
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{ROOT / 'proto'}", f"--python_out={out}"]
    command += [f"--plugin=protoc-gen-mypy={plugin}", f"--mypy_out=quiet:{out}", *map(str, SOURCES)]
    subprocess.run(command, check=True)
    return sorted(path.relative_to(out) for suffix in ("py", "pyi") for path in out.rglob(f"*_pb2.{suffix}"))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare with the committed modules and write nothing")
    if not parser.parse_args().check:
        generate(ROOT / "wire")
        return 0
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        stale = [
            path
            for path in generate(out)
            if not (ROOT / "wire" / path).exists() or not filecmp.cmp(out / path, ROOT / "wire" / path, shallow=False)
        ]
    for path in stale:
        sys.stderr.write(f"wire/{path} is out of date: run make generate\n")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
