"""Which assignments count, and the mounted file they come from."""

import asyncio
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final

from google.protobuf import json_format

from switchboard_wire.v1 import frames_pb2 as pb

log = logging.getLogger("sidecar.assignments")

# A ConfigMap mount changes by a swap of symlinks, which inotify on the file itself does not show; stat costs 2 µs
POLL_S: Final = 1.0

Apply = Callable[[pb.Assignments], None]
Stamp = tuple[int, int, int]  # inode, mtime, size


def is_newer(offered: pb.Assignments, applied: pb.Assignments | None) -> bool:
    """The higher generation wins, from wherever it comes. Generation 0 is a file written by hand: any change counts."""
    if applied is None or offered.generation > applied.generation:
        return True
    return offered.generation == 0 == applied.generation and offered != applied


def parse_assignments(text: str) -> pb.Assignments:
    """Read protobuf JSON; fields of a newer operator are ignored. Raises ValueError that says what is wrong."""
    try:
        found = json.loads(text)
        if not isinstance(found, dict):
            raise ValueError("the file must hold one JSON object")
        return json_format.ParseDict(found, pb.Assignments(), ignore_unknown_fields=True)
    except (ValueError, json_format.ParseError) as error:
        raise ValueError(f"no assignments: {error}") from error


async def watch_file(path: Path, apply: Apply) -> None:
    """Hand over the file's assignments now and after each change, for ever. A missing or broken one changes nothing."""
    seen: Stamp | None = None
    while True:
        stamp = _stamp(path)
        if stamp is not None and stamp != seen:
            seen = stamp
            _read(path, apply)
        await asyncio.sleep(POLL_S)


def _read(path: Path, apply: Apply) -> None:
    try:
        apply(parse_assignments(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        log.error("the assignments file was not read", extra={"path": str(path), "reason": str(error)})


def _stamp(path: Path) -> Stamp | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
