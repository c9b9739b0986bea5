"""What kubectl's watches say, with the time at which they said it."""

import contextlib
import json
import os
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Any

from live.kubectl import Kubectl

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Line:
    """A line that a watch wrote. at_s: on this machine's monotonic clock."""

    at_s: float
    text: str


@dataclass(frozen=True, slots=True)
class Seen:
    """An object as a watch told it. kind: ADDED, MODIFIED or DELETED."""

    at_s: float
    kind: str
    object: Json


@contextlib.contextmanager
def watch(kubectl: Kubectl, *words: str) -> Iterator[list[Line]]:
    """The lines of `kubectl get … --watch`, which grow while the context is open."""
    command = [str(kubectl.program), f"--kubeconfig={kubectl.kubeconfig}", "get", *words, "--watch"]
    lines: list[Line] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ}) as process:
        assert process.stdout is not None
        reader = threading.Thread(target=_read, args=(process.stdout, lines), daemon=True)
        reader.start()
        try:
            yield lines
        finally:
            process.terminate()
            reader.join()


def _read(out: IO[str], lines: list[Line]) -> None:
    for text in out:
        lines.append(Line(time.monotonic(), text.rstrip("\n")))


def objects(lines: Sequence[Line]) -> list[Seen]:
    """The objects of a watch with `-o json --output-watch-events`, which writes one line for each."""
    events = [(line.at_s, json.loads(line.text)) for line in lines]
    return [Seen(at_s, event["type"], event["object"]) for at_s, event in events]
