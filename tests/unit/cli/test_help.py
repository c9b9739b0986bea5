"""Help fits in 80 columns, and the program knows by which name it was called."""

import sys

import pytest
from click.testing import CliRunner

from switchboard_cli import main


@pytest.mark.parametrize("arguments", [[], *([name] for name in main.cli.commands)], ids=" ".join)
def test_help_fits_in_80_columns(arguments: list[str]) -> None:
    result = CliRunner().invoke(main.cli, [*arguments, "--help"], terminal_width=80)
    assert result.exit_code == 0
    assert max(map(len, result.output.splitlines())) <= 80
    assert "Usage:" in result.output


def test_as_a_plugin_of_kubectl_it_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["/usr/bin/kubectl-switchboard", "--help"])
    with pytest.raises(SystemExit):
        main.main()
    assert "Usage: kubectl switchboard" in capsys.readouterr().out
