"""The names that users import are exactly these; adding or removing one is a decision."""

import subprocess
import sys

import switchboard
from switchboard_wire.errors import _CLASSES, ERROR_TABLE, ErrorValue, SwitchboardError
from switchboard_wire.v1 import frames_pb2 as pb


def test_every_public_name_is_there_and_every_error_is_public() -> None:
    assert all(hasattr(switchboard, name) for name in switchboard.__all__)
    assert {error.__name__ for error in _CLASSES.values()} <= set(switchboard.__all__)


def test_every_code_has_a_class_of_its_own() -> None:
    assert set(_CLASSES) == set(ERROR_TABLE)
    assert len(set(_CLASSES.values())) == len(_CLASSES)
    error = SwitchboardError(ErrorValue(pb.OVERLOADED, "full"))
    assert isinstance(error, switchboard.Overloaded)
    assert isinstance(error, switchboard.Unavailable)
    assert str(error) == "OVERLOADED: full"


def test_importing_the_sdk_imports_neither_pydantic_nor_kubernetes() -> None:
    script = "import sys, switchboard.host.process; print({'pydantic', 'kubernetes', 'kopf'} & set(sys.modules))"
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ended.stdout == "set()\n"
