"""`python tests/fuzz`: search inputs that reach new lines of our code, and keep them; a fault ends the search.

A loop of our own rather than a fuzzing engine: it needs nothing but the interpreter, follows pure Python by its own
trace, and shares its corpus with the unit tests. Mutations are those of AFL's havoc stage, and splicing.
"""

import argparse
import hashlib
import random
import sys
import time
import traceback
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "support")]
from targets import TARGETS, Target, seeds  # noqa: E402 - the folders above are no packages

CORPUS = HERE / "corpus"
MAX_INPUT = 4096
OURS = ("switchboard_wire", "switchboard_gateway", "switchboard_sidecar", "switchboard_routing")
WORDS = (
    b"\x00",
    b"\xff" * 4,
    b"\xff\xff\xff\xff\x0f",
    b"\x80\x80\x80\x80\x10",
    b"{",
    b"}",
    b"[",
    b'"',
    b"\\ud800",
    b"\n",
    b":",
    b"/",
)

Edge = tuple[CodeType, int, int]


class Tracer:
    """Edges between lines of our packages that one run passes."""

    def __init__(self) -> None:
        self.edges: set[Edge] = set()
        self._is_ours: dict[CodeType, bool] = {}

    def run(self, target: Target, data: bytes) -> set[Edge]:
        self.edges = set()
        sys.settrace(self._call)
        try:
            target(data)
        finally:
            sys.settrace(None)
        return self.edges

    def _call(self, frame: FrameType, event: str, _: Any) -> Any:
        code = frame.f_code
        ours = self._is_ours.get(code)
        if ours is None:
            ours = self._is_ours[code] = any(f"/{name}/" in code.co_filename for name in OURS)
        if not ours:
            return None
        last = frame.f_lineno

        def line(inner: FrameType, event: str, _: Any) -> Any:
            nonlocal last
            if event == "line":
                self.edges.add((code, last, inner.f_lineno))
                last = inner.f_lineno
            return line

        self.edges.add((code, 0, last))
        return line


def mutate(data: bytes, other: bytes, rng: random.Random) -> bytes:
    """A neighbour of an input."""
    found = bytearray(data)
    for _ in range(1 << rng.randrange(5)):
        at = rng.randrange(len(found) + 1)
        kind = rng.randrange(7)
        if kind == 0 and found:
            found[at % len(found)] ^= 1 << rng.randrange(8)
        elif kind == 1 and found:
            found[at % len(found)] = rng.randrange(256)
        elif kind == 2:
            found[at:at] = rng.choice(WORDS)
        elif kind == 3:
            del found[at : at + rng.randrange(1, 9)]
        elif kind == 4:
            piece = bytes(found[at : at + rng.randrange(1, 65)])
            found[at:at] = piece
        elif kind == 5 and other:
            start = rng.randrange(len(other))
            found[at:at] = other[start : start + rng.randrange(1, 129)]
        elif kind == 6 and found:
            found[at % len(found)] = (found[at % len(found)] + rng.choice((-1, 1, 35, -35))) % 256
    return bytes(found[:MAX_INPUT])


def with_lengths(data: bytes, rng: random.Random) -> bytes:
    """Streams of batches mostly keep a right length, or nothing behind it is ever read."""
    return (len(data) - 4).to_bytes(4, "big") + data[4:] if len(data) > 4 and rng.random() < 0.9 else data


def search(name: str, seconds: float, rng: random.Random) -> tuple[int, int]:
    """Fuzz one target; returns (executions, edges). Raises what the target raised, its input kept in the corpus."""
    target, tracer, folder = TARGETS[name], Tracer(), CORPUS / name
    folder.mkdir(parents=True, exist_ok=True)
    inputs = seeds(name) + [path.read_bytes() for path in sorted(folder.iterdir())]
    seen: set[Edge] = set()
    kept: list[bytes] = []
    for data in inputs:
        edges = tracer.run(target, data)
        if not edges <= seen:
            seen |= edges
            kept.append(data)
    count, ends = len(inputs), time.monotonic() + seconds
    is_stream = name in ("session", "link", "gateway_link", "host")
    while time.monotonic() < ends:
        data = mutate(rng.choice(kept), rng.choice(kept), rng)
        data = with_lengths(data, rng) if is_stream else data
        count += 1
        try:
            edges = tracer.run(target, data)
        except BaseException:
            keep(folder, data)
            raise
        if not edges <= seen:
            seen |= edges
            kept.append(data)
            keep(folder, data)
    return count, len(seen)


def keep(folder: Path, data: bytes) -> None:
    (folder / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="for each target")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("targets", nargs="*", choices=[[], *TARGETS], help="all by default")
    given = parser.parse_args()
    failed = 0
    for name in given.targets or TARGETS:
        try:
            count, edges = search(name, given.seconds, random.Random(given.seed))
        except Exception:  # noqa: BLE001 - what a target raises is the finding
            traceback.print_exc()
            failed = 1
            continue
        kept = len(list((CORPUS / name).iterdir()))
        sys.stdout.write(f"{name:14} {count:8} executions {edges:6} edges {kept:5} inputs kept\n")
        sys.stdout.flush()
    return failed


if __name__ == "__main__":
    sys.exit(main())
