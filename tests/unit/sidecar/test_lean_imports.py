"""A sidecar loads grpc without typing_extensions; each case in an interpreter of its own."""

import subprocess
import sys

import pytest


def run(code: str) -> str:
    begin = "import sys; from switchboard_sidecar.lean_imports import spare_typing_extensions as spare; spare(); "
    done = subprocess.run([sys.executable, "-c", begin + code], capture_output=True, text=True, check=True, timeout=120)
    return done.stdout.strip()


def test_grpc_loads_and_the_real_module_does_not() -> None:
    code = "from grpc import aio; from switchboard_sidecar import sidecar; m = sys.modules['typing_extensions']; "
    assert run(code + "print(hasattr(m, '__file__'), aio.Channel.__name__)") == "False Channel"


@pytest.mark.parametrize("name", ["Annotated", "TypedDict", "ParamSpec"])
def test_whoever_needs_another_name_gets_the_real_module(name: str) -> None:
    code = f"from typing_extensions import {name}, Self; import typing_extensions; "
    assert run(code + f"print(typing_extensions.__file__ != '', typing_extensions.{name} is {name})") == "True True"


def test_a_module_that_is_loaded_stays() -> None:
    begin = "import typing_extensions as real; spare(); import typing_extensions as now; print(real is now)"
    assert run("del sys.modules['typing_extensions']; " + begin) == "True"
