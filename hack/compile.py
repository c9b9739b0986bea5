"""Compile the hot modules of the message path with mypyc: `python hack/compile.py TARGET [PACKAGE ...]`.

TARGET becomes a folder with all packages as they are imported; the modules that `[tool.switchboard] compiled` of
pyproject.toml lists lie there as machine code, each beside its source, which Python then passes over. Put it in front
of the import path (PYTHONPATH). With packages named, only their modules are compiled: one process needs not all, and a
smaller library takes less memory. Nothing is done when TARGET holds that already. It is for the Python that runs this.

Without a C compiler or Python's headers there is no TARGET, and one line says why: everything runs interpreted then.
"""

import argparse
import contextlib
import hashlib
import importlib.util
import os
import shutil
import sys
import sysconfig
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
# One library for all of them: calls between them then need neither names nor argument tuples
LIBRARY = "switchboard"
MARK = ".compiled"
# Types from the sources alone, whatever is installed: what is not typed is called as the interpreter would.
# What the sources' comments ignore depends on stubs that need not be here.
TYPES = ("--config-file=", "--follow-imports=silent", "--ignore-missing-imports", "--no-warn-unused-ignores")


def main() -> int:
    """Compile, unless it is done or cannot be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", type=Path)
    parser.add_argument("packages", nargs="*", metavar="PACKAGE", help="switchboard_wire, for example (all)")
    given = parser.parse_args()
    target: Path = given.target.resolve()
    obstacle = find_obstacle()
    if obstacle is not None:
        shutil.rmtree(target, ignore_errors=True)
        print(f"The message path stays interpreted: {obstacle}", flush=True)
        return 0
    packages, modules = read_lists()
    if given.packages:
        modules = [name for name in modules if name.partition(".")[0] in given.packages]
    key = key_of(packages, modules)
    mark = target / MARK
    if mark.exists() and mark.read_text() == key:
        return 0
    print(f"==> {len(modules)} modules of the message path compiled into {target} (a minute or two)", flush=True)
    scratch = target.with_name(f"{target.name}.new")
    copy_packages(packages, scratch)
    compile_modules(scratch, modules)
    (scratch / MARK).write_text(key)
    shutil.rmtree(target, ignore_errors=True)
    scratch.replace(target)
    return 0


def find_obstacle() -> str | None:
    """What is missing here, and what would help; None when nothing is."""
    for name in ("mypyc", "setuptools"):
        if importlib.util.find_spec(name) is None:
            return f"no {name} in {sys.prefix}: requirements/compile.txt has it"
    compiler = (sysconfig.get_config_var("CC") or "cc").split()[0]
    if shutil.which(compiler) is None:
        return f"no C compiler {compiler}: apt-get install gcc libc6-dev"
    if not Path(sysconfig.get_path("include"), "Python.h").exists():
        return f"no headers of {sys.executable}: apt-get install python3-dev"
    return None


def read_lists() -> tuple[list[Path], list[str]]:
    """The folders of all packages, and the modules to compile."""
    tool = tomllib.loads((PROJECT / "pyproject.toml").read_text())["tool"]
    packages = [PROJECT / name for name in tool["hatch"]["build"]["targets"]["wheel"]["packages"]]
    modules: list[str] = tool["switchboard"]["compiled"]
    return packages, modules


def key_of(packages: list[Path], modules: list[str]) -> str:
    """A name for all that the result follows from."""
    whole = hashlib.sha256("\n".join([sys.version, importlib.util.MAGIC_NUMBER.hex(), *modules]).encode())
    whole.update(Path(__file__).read_bytes())
    for package in packages:
        for file in sorted(package.rglob("*.py*")):
            if "__pycache__" not in file.parts:
                content = file.read_bytes()
                whole.update(f"\n{file.relative_to(PROJECT)} {len(content)}\n".encode() + content)
    return whole.hexdigest()


def copy_packages(packages: list[Path], target: Path) -> None:
    """Lay the packages side by side, as they are imported."""
    shutil.rmtree(target, ignore_errors=True)
    for package in packages:
        shutil.copytree(package, target / package.name, ignore=shutil.ignore_patterns("__pycache__"))


def compile_modules(folder: Path, modules: list[str]) -> None:
    """Compile modules in place. Ends the program when one cannot be, with what mypyc or the compiler says."""
    from mypyc.build import mypycify
    from setuptools import setup  # before mypyc, which looks whether it is there

    files = [f"{name.replace('.', '/')}.py" for name in modules]
    with contextlib.chdir(folder), told_on_failure():
        extensions = mypycify([*TYPES, *files], opt_level="2", debug_level="0", group_name=LIBRARY)
        setup(name=LIBRARY, ext_modules=extensions, script_args=["--quiet", "build_ext", "--inplace"])
    for left in ("build", ".mypy_cache"):
        shutil.rmtree(folder / left, ignore_errors=True)


@contextlib.contextmanager
def told_on_failure() -> Iterator[None]:
    """Keep back what mypyc and the compiler print of each step, unless they fail."""
    kept = os.dup(1)
    with tempfile.TemporaryFile() as log:
        os.dup2(log.fileno(), 1)
        try:
            yield
        except BaseException:
            sys.stdout.flush()
            log.seek(0)
            sys.stderr.write(log.read().decode(errors="replace"))
            raise
        finally:
            sys.stdout.flush()
            os.dup2(kept, 1)
            os.close(kept)


if __name__ == "__main__":
    sys.exit(main())
