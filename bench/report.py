"""Rows of a benchmark: medians over rounds, ratios to a baseline of the same run, a table and a JSON file."""

import json
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from bench.load import Measured, Task
from bench.machine import Machine
from bench.paths import Sample
from bench.processes import ROOT

OUT = ROOT / "build" / "bench"


@dataclass(frozen=True, slots=True)
class Row:
    """One line. cpu_s: of the path's processes, in all rounds, without the load's own.

    ratio: per_s divided by that of `ratio_to` under the same conditions in the same run; 1 for a baseline.
    """

    name: str
    in_flight: int
    payload: int
    per_s: float
    p50_ms: float
    p90_ms: float
    p99_ms: float
    cpu_s: float
    ratio_to: str = ""
    ratio: float = 1.0


def median_of(rounds: Sequence[Measured]) -> Measured:
    """The median of each figure by itself; the errors and failures of all rounds."""
    failures: Counter[str] = Counter()
    for one in rounds:
        failures.update(one.failures)
    return Measured(
        statistics.median(r.per_s for r in rounds),
        statistics.median(r.p50_ms for r in rounds),
        statistics.median(r.p90_ms for r in rounds),
        statistics.median(r.p99_ms for r in rounds),
        sum(r.errors for r in rounds),
        dict(failures),
    )


def compare(found: Mapping[tuple[str, Task], Sequence[Sample]], subject: str) -> list[Row]:
    """The baselines' rows and, for the subject, one row for each baseline that it is compared with.

    Rows of one task stand together; a baseline that failed in a task has none there.
    """
    rows: list[Row] = []
    for task in sorted({task for _, task in found}, key=lambda task: (task.payload, task.in_flight, task.rate)):
        middle = {name: row_of(name, task, samples) for (name, other), samples in found.items() if other == task}
        ours = middle.pop(subject, None)
        rows += middle.values()
        if ours is not None:
            rows += [ratio_row(ours, base) for base in middle.values()] or [ours]
    return rows


def row_of(name: str, task: Task, samples: Sequence[Sample]) -> Row:
    """The row of one path and task, as its own baseline."""
    middle = median_of([sample.measured for sample in samples])
    if middle.errors:
        kinds = "".join(f", {count} {kind}" for kind, count in sorted(middle.failures.items()))
        print(f"{name}, {task.in_flight} in flight, {task.payload} bytes: {middle.errors} calls FAILED{kinds}")
    used = sum(sample.cpu_s for sample in samples)
    return Row(name, task.in_flight, task.payload, middle.per_s, middle.p50_ms, middle.p90_ms, middle.p99_ms, used)


def ratio_row(ours: Row, base: Row) -> Row:
    """Our row, compared with a baseline's."""
    ratio = ours.per_s / base.per_s if base.per_s else float("nan")
    return Row(**asdict(ours) | {"ratio_to": base.name, "ratio": ratio})


HEADINGS = ("path", "in flight", "bytes", "per s", "p50 ms", "p90 ms", "p99 ms", "CPU s", "ratio")


def render(rows: Sequence[Row]) -> str:
    """The rows as a table of Markdown, aligned so that it reads in a terminal too."""
    lines = [HEADINGS, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADINGS))]
    lines.insert(1, tuple("-" * width for width in widths))
    return "\n".join("| " + " | ".join(_aligned(line, widths)) + " |" for line in lines)


def _cells(row: Row) -> tuple[str, ...]:
    numbers = (
        f"{row.in_flight}",
        f"{row.payload}",
        f"{row.per_s:,.0f}",
        *map(_ms, (row.p50_ms, row.p90_ms, row.p99_ms)),
    )
    ratio = f"{row.ratio:.2f} × {row.ratio_to}" if row.ratio_to else ""
    return (row.name, *numbers, f"{row.cpu_s:.1f}", ratio)


def _ms(value: float) -> str:
    if value != value:
        return "–"
    return f"{value:.2f}" if value < 100 else f"{value:.0f}"


def _aligned(line: Sequence[str], widths: Sequence[int]) -> list[str]:
    numbers = range(1, len(line) - 1)
    return [
        cell.rjust(width) if at in numbers else cell.ljust(width)
        for at, (cell, width) in enumerate(zip(line, widths, strict=True))
    ]


def publish(name: str, rows: Sequence[Row], machine: Machine) -> None:
    """Print the table and write build/bench/NAME.json and NAME.md. machine: what it was taken on."""
    publish_table(name, rows, render(rows), machine)


def publish_table(name: str, rows: Sequence[Row], table: str, machine: Machine) -> None:
    """The same with a table of one's own."""
    publish_figures(name, to_json(rows), table, machine)


def publish_figures(name: str, figures: str, table: str, machine: Machine) -> None:
    """The same with figures of one's own, as JSON."""
    print(f"\n{table}\n", flush=True)
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / f"{name}.json").write_text(figures)
    (OUT / f"{name}.md").write_text(f"{table}\n\n{machine.conditions()}\n")


def to_json(rows: Sequence[Row]) -> str:
    """The rows as an array of objects; a figure that is not there, because nothing ended in time, is null."""
    plain = [asdict(row) for row in rows]
    known = [{key: None if value != value else value for key, value in row.items()} for row in plain]
    return json.dumps(known, indent=1, allow_nan=False) + "\n"
