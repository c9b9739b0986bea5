"""The wall clock of programs, to be set forward and back while they run; their monotonic clocks go on.

By libfaketime (Debian's package of that name), which stands between a program and the C library: whatever reads the
time in it is deceived alike, Python's code and that of its extensions.
"""

import urllib.request
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest

_PLACES = ("/usr/lib/*/faketime/libfaketimeMT.so.1", "/usr/lib*/faketime/libfaketimeMT.so.1")


@dataclass(frozen=True, slots=True)
class WallClock:
    """One clock for all programs that are started with its environment."""

    file: Path
    library: Path

    @property
    def environment(self) -> dict[str, str]:
        """What a program needs in order to see this clock."""
        return {
            "LD_PRELOAD": str(self.library),
            "FAKETIME_TIMESTAMP_FILE": str(self.file),
            "FAKETIME_NO_CACHE": "1",  # a jump is seen at once
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_DONT_RESET": "1",  # what they start shares the clock
        }

    def jump(self, seconds: int) -> None:
        """Let it be wrong by so much from now on."""
        fresh = self.file.with_suffix(".new")
        fresh.write_text(f"{seconds:+d}\n")
        fresh.replace(self.file)


def make_wall_clock(folder: Path) -> WallClock:
    """A clock that is right. Skips the test where libfaketime is not installed."""
    found = [path for place in _PLACES for path in Path("/").glob(place.removeprefix("/"))]
    if not found:
        pytest.skip("libfaketime is missing: apt-get install libfaketime")
    clock = WallClock(folder / "wall-clock", found[0])
    clock.jump(0)
    return clock


def wrong_by_s(url: str) -> float:
    """By how much the clock of an HTTP server is wrong, as its Date tells; whole seconds."""
    with urllib.request.urlopen(url, timeout=60) as answer:
        told = parsedate_to_datetime(answer.headers["Date"])
    return (told - datetime.now(UTC)).total_seconds()
