"""Baselines made ready on first use, in the cache folder of the local cluster: programs built, environments filled.

A result's folder is named by a digest of what it was made from, so a change makes it anew.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.paths import Unavailable
from bench.processes import ROOT

# The cluster tool knows where Go is and where to keep things; it is a program, so its folder is on nobody's path
sys.path.append(str(ROOT / "hack" / "cluster"))

from devcluster.binaries import GO_ENVIRONMENT, find_go, locked
from devcluster.commands import run
from devcluster.faults import ClusterError
from devcluster.settings import from_environment

BASELINES = ROOT / "bench" / "baselines"
FOLDER = from_environment().cache / "bench"


def require(package: str, *programs: str) -> list[str]:
    """The paths of programs that a Debian package brings. Raises Unavailable."""
    folders = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
    found = [shutil.which(program, path=folders) for program in programs]
    missing = [program for program, path in zip(programs, found, strict=True) if path is None]
    if missing:
        raise Unavailable(f"{' and '.join(missing)} missing: apt-get install {package}")
    return [path for path in found if path is not None]


def go_program(name: str) -> Path:
    """The program of the Go module bench/baselines/NAME. Raises Unavailable."""
    module, shared = BASELINES / name, BASELINES / "load"
    sources = [*sorted(module.glob("*.go")), module / "go.mod", module / "go.sum", *sorted(shared.glob("*.go"))]
    program = _folder(name, sources) / name
    with locked(FOLDER / f".{name}.lock"):
        if not program.exists():
            print(f"building {name} (minutes the first time)", flush=True)
            flags = ["-mod=readonly", "-trimpath", "-ldflags", "-s -w", "-o", str(program.with_suffix(".new"))]
            try:
                run([find_go(), "build", *flags, "."], env=os.environ | GO_ENVIRONMENT, cwd=module)
            except ClusterError as error:
                raise Unavailable(f"the build failed: {error}") from error
            program.with_suffix(".new").replace(program)
    return program


def c_program(source: Path, package: str, *flags: str) -> Path:
    """The program of one C file. package: the Debian package of what it is linked with. Raises Unavailable."""
    (compiler,) = require("gcc", "gcc")
    program = _folder(source.stem, [source]) / source.stem
    if not program.exists():
        done = subprocess.run(
            [compiler, "-O2", "-o", program, source, *flags], capture_output=True, text=True, check=False
        )
        if done.returncode:
            reason = done.stderr.strip().partition("\n")[0]
            raise Unavailable(f"{source.name} does not compile ({reason}): apt-get install {package}")
    return program


def python_environment(name: str, requirements: Path) -> Path:
    """The interpreter of an environment that holds the hashed requirements and nothing else. Raises Unavailable."""
    folder = _folder(name, [requirements], sys.base_prefix + sys.version)
    python, complete = folder / "bin" / "python", folder / ".complete"
    with locked(FOLDER / f".{name}.lock"):
        if not complete.exists():
            print(f"installing {name} (a minute the first time)", flush=True)
            try:
                run([sys.executable, "-m", "venv", "--clear", folder])
                run([python, "-m", "pip", "install", "--quiet", "--require-hashes", "-r", requirements])
            except ClusterError as error:
                raise Unavailable(f"the installation failed: {error}") from error
            complete.touch()
    return python


def _folder(name: str, sources: Sequence[Path], also: str = "") -> Path:
    content = b"".join(source.read_bytes() for source in sources) + also.encode()
    digest = hashlib.sha256(content).hexdigest()[:8]
    folder = FOLDER / f"{name}-{digest}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
