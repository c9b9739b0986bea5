"""The tutorial, followed to the letter: its files are written, its commands run, its outputs compared."""

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from ports import free_port

pytestmark = pytest.mark.integration

TUTORIAL = Path(__file__).resolve().parents[3] / "docs" / "tutorial" / "first-agent.md"
WAIT_S = 180.0


@dataclass(frozen=True)
class Block:
    """A fenced block. file: named by the sentence before it, for Python."""

    language: str
    text: str
    file: str


def read_blocks() -> list[Block]:
    text = TUTORIAL.read_text()
    blocks = []
    for match in re.finditer(r"^```(\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        named = re.findall(r"`(\w+\.py)`", text[: match.start()])
        blocks.append(Block(match[1], match[2], named[-1] if named else ""))
    return blocks


class Tour:
    """A folder, an environment and, once started, `switchboard dev` in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.grpc, self.http = free_port(), free_port()
        self.lines: list[str] = []
        self._changed = threading.Condition()
        self.env = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "SWITCHBOARD_GATEWAY": f"localhost:{self.grpc}",
            "SWITCHBOARD_CONNECT_TIMEOUT": "60",
        }
        self.process: subprocess.Popen[str] | None = None

    def start(self, command: str) -> None:
        command += f" --port {self.grpc} --http-port {self.http}"
        self.process = subprocess.Popen(
            command.split(), cwd=self.folder, env=self.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process is not None
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._changed:
                self.lines.append(line.rstrip())
                self._changed.notify_all()

    def wait_for(self, start: str, after: int = 0) -> None:
        with self._changed:
            found = self._changed.wait_for(lambda: any(line.startswith(start) for line in self.lines[after:]), WAIT_S)
            assert found, self.lines

    def shell(self, command: str) -> str:
        command = command.replace("localhost:8080", f"localhost:{self.http}")
        ended = subprocess.run(
            command, shell=True, cwd=self.folder, env=self.env, capture_output=True, text=True, timeout=WAIT_S,
            check=False,
        )  # fmt: skip
        return ended.stdout + ended.stderr


@pytest.fixture
def tour(tmp_path: Path) -> Iterator[Tour]:
    tour = Tour(tmp_path)
    yield tour
    if tour.process is not None:
        tour.process.terminate()
        tour.process.wait(WAIT_S)
        assert tour.process.stdout is not None
        tour.process.stdout.close()


def test_the_tutorial_holds_to_the_letter_and_in_five_minutes(tour: Tour) -> None:
    followed = 0
    for block in read_blocks():
        if block.language == "python":
            seen = len(tour.lines)
            (tour.folder / block.file).write_text(block.text)
            if tour.process is not None and block.file == "app.py":
                tour.wait_for("reloaded in", after=seen)
            continue
        command, _, expected = block.text.removeprefix("$ ").partition("\n")
        if command.startswith("switchboard dev"):
            tour.start(command)
            tour.wait_for("Ctrl-C")
            assert [re.sub(r"\d+\.\d s|localhost:\d+|--gateway \S+ ", "", line) for line in tour.lines[:2]] == [
                "ready in : summarize", '  switchboard send summarize "Hello"'
            ]  # fmt: skip
        elif not command.startswith("make"):
            assert tour.shell(command).rstrip("\n") == expected.rstrip("\n"), command
            followed += 1
    assert followed == 10
