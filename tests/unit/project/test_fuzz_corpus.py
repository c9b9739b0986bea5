"""Every input that the fuzzer has kept, and every seed of its search, still does no harm."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

FUZZ = Path(__file__).parents[2] / "fuzz"


def load_targets() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fuzz_targets", FUZZ / "targets.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


targets = load_targets()


@pytest.mark.parametrize("name", targets.TARGETS)
def test_what_the_fuzzer_found_does_no_harm_any_more(name: str) -> None:
    inputs = targets.seeds(name) + [path.read_bytes() for path in sorted((FUZZ / "corpus" / name).iterdir())]
    assert len(inputs) > len(targets.seeds(name))
    for data in inputs:
        targets.TARGETS[name](data)
