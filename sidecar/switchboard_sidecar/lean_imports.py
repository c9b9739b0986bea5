"""Keeps `typing_extensions` out of a sidecar's memory: 7 MB, of which grpc uses two names.

grpc imports `Self` and `override` for its annotations, and nothing else that a sidecar loads needs the module. Whoever
asks the stand-in for another name gets the real one, so the worst case is what was before.
"""

import importlib
import sys
import types
import typing
from typing import Any, Final, TypeVar

NAME: Final = "typing_extensions"

F = TypeVar("F")


class _StandIn(types.ModuleType):
    """Has what grpc takes, and loads the real module for the rest."""

    Self = typing.Self

    @staticmethod
    def override(method: F) -> F:
        """As `typing.override` of Python 3.12, without its mark."""
        return method

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # the import system asks; the real module has nothing to add
            raise AttributeError(name)
        if sys.modules.get(NAME) is self:
            del sys.modules[NAME]
        return getattr(importlib.import_module(NAME), name)


def spare_typing_extensions() -> None:
    """Put the stand-in where the module would be, before grpc is loaded. Does nothing when it is loaded already."""
    sys.modules.setdefault(NAME, _StandIn(NAME))
