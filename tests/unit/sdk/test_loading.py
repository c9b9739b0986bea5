"""The import of user code while other code is imported."""

import sys
from pathlib import Path

import pytest

from switchboard.host.loading import LOOKS, import_module


class Disturbed:
    """A finder whose folders change each time that it goes through them, as other threads' imports make them do."""

    def __init__(self, error: Exception, times: int) -> None:
        self._error = error
        self.left = times

    def find_spec(self, *_: object) -> None:
        """It knows no module."""

    def invalidate_caches(self) -> None:
        if self.left:
            self.left -= 1
            raise self._error


@pytest.mark.parametrize("times", [1, 10 * LOOKS], ids=["once", "all the time"])
@pytest.mark.parametrize("error", [RuntimeError("dictionary changed size during iteration"), KeyError("/code")])
def test_a_module_is_imported_though_another_thread_imports_meanwhile(
    error: Exception, times: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "undisturbed.py").write_text("value = 7\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "meta_path", [Disturbed(error, times), *sys.meta_path])
    monkeypatch.delitem(sys.modules, "undisturbed", raising=False)
    assert import_module("undisturbed:value", "undisturbed", tmp_path).value == 7
    del sys.modules["undisturbed"]
