import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="session")
def load_file() -> Callable[[str], ModuleType]:
    """Imports a Python file that is in no package, by its path from the project's root."""

    def load(path: str) -> ModuleType:
        name = f"loaded_{Path(path).stem}"
        spec = importlib.util.spec_from_file_location(name, ROOT / path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module  # dataclasses look their module up
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture(scope="session")
def chart() -> Path:
    return ROOT / "charts" / "switchboard"
