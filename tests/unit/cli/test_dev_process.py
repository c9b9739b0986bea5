"""A process of `switchboard dev` is read to its end, whatever it writes."""

import asyncio
from pathlib import Path

import pytest

from switchboard_cli import dev_process
from switchboard_cli.dev_process import Child

PROGRAM = """
import sys
for text in ("before", "x" * {long}, "between", "y" * {longer}, "after", "z" * {limit}, "w" * ({limit} - 1)):
    print(text, file=sys.stderr)
print("the end", end="", file=sys.stderr)
"""


async def test_a_line_that_is_too_long_is_told_and_the_next_ones_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = 4096
    monkeypatch.setattr(dev_process, "MAX_LINE_BYTES", limit)
    (tmp_path / "talks.py").write_text(PROGRAM.format(limit=limit, long=limit + 1, longer=500 * limit))
    told: list[str] = []
    child = Child("host", "talks", {"PYTHONPATH": str(tmp_path)}, lambda _, text: told.append(text))
    await child.start()
    try:
        async with asyncio.timeout(60):
            assert await child.wait() == 0
    finally:
        await child.stop()
    too_long = f"host: a line of over {limit} bytes is not shown"
    lines = [text if len(text) < 100 else (text[0], len(text)) for text in told]
    assert lines == ["before", too_long, "between", too_long, "after", ("z", limit), ("w", limit - 1), "the end"]
