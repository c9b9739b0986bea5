"""`python -m switchboard.host` says how it is configured, and takes no arguments in silence."""

import pytest

from switchboard.host.__main__ import main


def test_help_names_every_variable(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    said = capsys.readouterr().out
    assert ended.value.code == 0
    assert all(f"SWITCHBOARD_{name}" in said for name in ("SOCKET", "CODE", "MODULES", "LOG_CALLS", "LOG_LEVEL"))
    assert max(map(len, said.splitlines())) <= 80


def test_an_argument_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["app.py"])
    assert ended.value.code == 2
    assert "unrecognized arguments: app.py" in capsys.readouterr().err
