"""What `hack/compile.py` compiles: the list holds only what mypyc can take, and is what runs where it was compiled."""

import ast
import importlib.util
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
TOOL: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
COMPILED: list[str] = TOOL["switchboard"]["compiled"]


def sources() -> dict[str, ast.Module]:
    """Every module of ours by its name."""
    packages = [ROOT / name for name in TOOL["hatch"]["build"]["targets"]["wheel"]["packages"]]
    files = [(package, file) for package in packages for file in package.rglob("*.py") if "_pb2" not in file.name]
    names = [".".join(file.relative_to(package.parent).with_suffix("").parts) for package, file in files]
    return {name: ast.parse(file.read_text()) for name, (_, file) in zip(names, files, strict=True)}


@pytest.fixture(scope="module")
def modules() -> dict[str, ast.Module]:
    return sources()


def own_nodes(function: ast.AsyncFunctionDef) -> Iterator[ast.AST]:
    """The nodes of a function without those of functions inside it."""
    waiting: list[ast.AST] = [*function.body]
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            waiting += ast.iter_child_nodes(node)


def is_async_generator(node: ast.AST) -> bool:
    return isinstance(node, ast.AsyncFunctionDef) and any(isinstance(found, ast.Yield) for found in own_nodes(node))


def test_every_module_of_the_list_is_there_once(modules: dict[str, ast.Module]) -> None:
    assert set(COMPILED) <= modules.keys()
    assert len(COMPILED) == len(set(COMPILED))


@pytest.mark.parametrize("name", COMPILED)
def test_no_compiled_module_has_an_async_generator(name: str, modules: dict[str, ast.Module]) -> None:
    assert [node for node in ast.walk(modules[name]) if is_async_generator(node)] == []


def test_no_interpreted_class_derives_from_a_compiled_one(modules: dict[str, ast.Module]) -> None:
    origins: dict[tuple[str, str], str] = {}  # (module, name in it) → module that defines it
    for module, tree in modules.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                origins[module, node.name] = module
            elif isinstance(node, ast.ImportFrom) and node.module is not None:
                origins |= {(module, alias.asname or alias.name): node.module for alias in node.names}
    wrong = [
        f"{module}.{node.name}"
        for module, tree in modules.items()
        if module not in COMPILED
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        for base in node.bases
        if isinstance(base, ast.Name) and origins.get((module, base.id)) in COMPILED
    ]
    assert wrong == []


def test_either_all_of_them_run_compiled_or_none() -> None:
    origins = [str(spec.origin) for name in COMPILED if (spec := importlib.util.find_spec(name)) is not None]
    assert len(origins) == len(COMPILED)
    wanted = str(ROOT / "build" / "compiled") in os.environ.get("PYTHONPATH", "").split(os.pathsep)
    assert {origin.endswith(tuple(EXTENSION_SUFFIXES)) for origin in origins} == {wanted}


def test_without_a_compiler_one_line_says_that_all_stays_interpreted(tmp_path: Path) -> None:
    target = tmp_path / "compiled"
    target.mkdir()
    (target / "outdated.py").touch()
    words = [sys.executable, str(ROOT / "hack" / "compile.py"), str(target)]
    done = subprocess.run(words, env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("The message path stays interpreted: ")
    assert done.stdout.count("\n") == 1
    assert not target.exists()
