"""`python -m live.figures_table FILE PAGE`: the figures of `make reliability`, as tables of a page."""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from live.page import put_between

Row = Mapping[str, Any]
BEGIN = "<!-- figures: written by make reliability -->"
END = "<!-- end of figures -->"
COLUMNS = ("scenario", "load", "calls", "per_s", "failed", "p50_ms", "p99_ms", "max_ms", "gap_ms", "late_p99_ms")


def tables(rows: Sequence[Row]) -> list[str]:
    """A table of the scenarios with a load, and one of those without; either only when it has rows."""
    loads, others = [row for row in rows if "calls" in row], [row for row in rows if "calls" not in row]
    parts = [load_table(loads) if loads else [], plain_table(others) if others else []]
    return [*parts[0], *([""] if all(parts) else []), *parts[1]]


def load_table(rows: Sequence[Row]) -> list[str]:
    """A line of Markdown for each row; what a scenario alone can tell comes last."""
    lines = [
        "| scenario | load | calls | per s | failed | p50 | p99 | slowest | longest gap | more |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        failed = ", ".join(f"{count} {code}" for code, count in row["failed"].items()) or "0"
        cells = [row["scenario"], row["load"], f"{row['calls']:,}", f"{row['per_s']:,}", failed]
        cells += [f"{row[name]:g} ms" for name in ("p50_ms", "p99_ms", "max_ms", "gap_ms")]
        lines.append(f"| {' | '.join([*cells, particulars(row)])} |")
    return lines


def plain_table(rows: Sequence[Row]) -> list[str]:
    """A line of Markdown for each row, with what its scenario can tell."""
    return ["| scenario | figures |", "| --- | --- |", *(f"| {row['scenario']} | {particulars(row)} |" for row in rows)]


def particulars(row: Row) -> str:
    """What the scenario alone can tell."""
    return ", ".join(f"{worded(name)} {value:g}" for name, value in row.items() if name not in COLUMNS)


def merge(before: Sequence[Row], new: Sequence[Row]) -> list[Row]:
    """The new rows in the places of those of the same scenario and load; what is newly told comes last."""
    fresh = {(row["scenario"], row["load"]): row for row in new}
    kept = [fresh.pop((row["scenario"], row["load"]), row) for row in before]
    return [*kept, *fresh.values()]


def worded(name: str) -> str:
    """`new_leader_s` as people read it: `new leader (s)`."""
    words = name.split("_")
    if words[-1] in ("s", "ms"):
        words[-1] = f"({words[-1]})"
    return " ".join(words)


def insert(page: str, rows: Sequence[Row]) -> str:
    """The page with these figures in the place of those that it has. Raises ValueError when it has no place."""
    return put_between(page, (BEGIN, END), tables(rows))


def main() -> int:
    rows, page = json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2])
    page.write_text(insert(page.read_text(), rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
