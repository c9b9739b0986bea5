"""The READMEs of the examples and the reference of the command line, followed by copy and paste.

Their commands run from the top of the checkout, their outputs are compared.
"""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from ports import free_port

pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parents[3]
READMES = sorted((ROOT / "examples").glob("*/README.md"))
COMMAND_LINE = ROOT / "docs" / "reference" / "command-line.md"
WAIT_S = 180.0


class Terminal:
    """Runs commands as a person pastes them; ports are free ones instead of those that the text names."""

    def __init__(self, text: str, stack: contextlib.ExitStack) -> None:
        named = {"7400", "8080", *re.findall(r"\b801\d\b", text)}
        self._ports = {number: free_port() for number in named}  # not the usual ones, even if they are free
        self._stack = stack
        self._env = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "SWITCHBOARD_GATEWAY": f"localhost:{self._ports['7400']}",
            "SWITCHBOARD_CONNECT_TIMEOUT": "60",
        }

    def run(self, command: str) -> str:
        """What the command prints; nothing of one that goes on running."""
        for number, port in self._ports.items():
            command = re.sub(rf"\b{number}\b", str(port), command)
        if command.startswith("switchboard dev"):
            return self._start_dev(f"{command} --port {self._ports['7400']} --http-port {self._ports['8080']}")
        if command.endswith("&"):
            self._start(command.removesuffix("&"), subprocess.DEVNULL)
            return ""
        ended = subprocess.run(
            command, shell=True, cwd=ROOT, env=self._env, capture_output=True, text=True, timeout=WAIT_S, check=False
        )
        return ended.stdout + ended.stderr

    def _start_dev(self, command: str) -> str:
        """Wait until it says how to end it; returns the agents that are ready. It waits for HTTP servers by itself."""
        process = self._start(command, subprocess.PIPE)
        assert process.stdout is not None
        ready = ""
        for line in process.stdout:
            ready = ready or line
            if line.startswith("Ctrl-C"):
                threading.Thread(target=process.stdout.read, daemon=True).start()
                return ready
        pytest.fail(f"{command} ended")

    def _start(self, command: str, stdout: int) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            command, shell=True, cwd=ROOT, env=self._env, stdout=stdout, stderr=subprocess.STDOUT, text=True,
            start_new_session=True,
        )  # fmt: skip
        self._stack.callback(process.wait, WAIT_S)
        self._stack.callback(os.killpg, process.pid, signal.SIGTERM)
        return process


@pytest.fixture
def stack() -> Iterator[contextlib.ExitStack]:
    with contextlib.ExitStack() as opened:
        yield opened


def test_every_example_in_code_has_a_readme() -> None:
    with_code = {path.parent for pattern in ("*/*.py", "*/*.mjs") for path in (ROOT / "examples").glob(pattern)}
    assert with_code == {readme.parent for readme in READMES}


@pytest.mark.parametrize("readme", [*READMES, COMMAND_LINE], ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_readme_holds_to_the_letter(readme: Path, stack: contextlib.ExitStack) -> None:
    text = readme.read_text()
    blocks = re.findall(r"^```console\n\$ (.*?)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 2, "it shows nothing"
    if readme.parent.name.startswith("node-") and shutil.which("node") is None:
        pytest.skip("this machine has no Node to run the example with")
    terminal = Terminal(text, stack)
    for command, expected in blocks:
        printed = terminal.run(command)
        if command.startswith("switchboard dev"):
            assert agents_of(expected) in ("", agents_of(printed)), command
        else:
            assert lines_of(printed) == lines_of(expected), command


def agents_of(text: str) -> str:
    """Those that the first line of `switchboard dev` names; empty without one."""
    return text.partition("\n")[0].partition(": ")[2]


def lines_of(text: str) -> list[str]:
    """Without what differs from run to run: latencies and the weights that follow them, at the ends of lines."""
    return [re.sub(r" +[\d.]+ ms( +[\d.]+)?$", "", line.rstrip()) for line in text.rstrip().splitlines()]
