"""The base of the images where no registry answers: Debian with Python, made to look like the official slim image."""

import shutil
from pathlib import Path

from devcluster import machine
from devcluster.commands import run
from devcluster.settings import Places

RELEASE = "bookworm"
PYTHON = "3.11"  # what the release carries
PIP_VERSION = "26.3"
KEY = f"{RELEASE}-pip{PIP_VERSION}-1"  # the last number counts changes of this module's making
EXPECTED_S = 50
LEFT_OUT = (
    "./dev/*",
    "./proc/*",
    "./sys/*",
    "./run/*",
    "./tmp/*",
    "./var/cache/apt/*",
    "./var/lib/apt/lists/*",
    "./var/log/*",
    "./usr/share/doc/*",
    "./usr/share/man/*",
    "./usr/share/info/*",
    "./usr/share/locale/*",
)


def root_folder(places: Places) -> Path:
    """Return the unpacked base; its Python compiles what goes into the images."""
    return places.cache / "base" / KEY / "root"


def archive(places: Places) -> Path:
    """Return the base as a tar archive of one root file system."""
    return places.cache / "base" / KEY / "root.tar"


def provide(places: Places, python: Path) -> None:
    """Make the base unless it is cached; `python` has a pip that can download pip itself."""
    if archive(places).exists():
        return
    target = root_folder(places)
    folder, packages = target.parent, places.cache / "base" / "packages"
    machine.unmount_below(folder)  # of an attempt that was interrupted
    shutil.rmtree(folder, ignore_errors=True)
    for needed in (folder, packages):
        needed.mkdir(parents=True, exist_ok=True)
    options = ["--variant=minbase", "--include=python3,ca-certificates", f"--cache-dir={packages}"]
    run(["debootstrap", *options, RELEASE, target])
    machine.unmount_below(folder)
    add_pip(target, folder, python)
    scratch = folder / "root.tar.new"
    excluded = [f"--exclude={pattern}" for pattern in LEFT_OUT]
    run(
        [
            "tar",
            "--create",
            "--numeric-owner",
            "--sort=name",
            f"--file={scratch}",
            *excluded,
            f"--directory={target}",
            ".",
        ]
    )
    scratch.replace(archive(places))


def add_pip(root: Path, scratch: Path, python: Path) -> None:
    """Give the base `python` and `pip` as the official image has them, and let pip install."""
    library = root / "usr" / "lib"
    (library / f"python{PYTHON}" / "EXTERNALLY-MANAGED").unlink(missing_ok=True)
    (root / "usr" / "bin" / "python").symlink_to("python3")
    run([python, "-m", "pip", "download", "--quiet", "--no-deps", f"--dest={scratch}", f"pip=={PIP_VERSION}"])
    wheel = next(scratch.glob("pip-*.whl"))
    shutil.unpack_archive(wheel, library / "python3" / "dist-packages", format="zip")
    wheel.unlink()
    script = root / "usr" / "bin" / "pip"
    script.write_text("#!/usr/bin/python3\nfrom pip._internal.cli.main import main\nraise SystemExit(main())\n")
    script.chmod(0o755)
