"""Rows of a benchmark: medians over rounds, ratios to a baseline of the same run, a table and a JSON file."""

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.load import Measured

OUT = Path(__file__).resolve().parent.parent / "build" / "bench"


@dataclass(frozen=True, slots=True)
class Row:
    """One line. ratio: per_s divided by the baseline's under the same conditions."""

    name: str
    in_flight: int
    payload: int
    per_s: float
    p50_ms: float
    p90_ms: float
    p99_ms: float
    cpu_s: float
    ratio_to: str
    ratio: float


def median_of(rounds: Sequence[Measured]) -> Measured:
    """The median of each figure by itself."""
    return Measured(
        statistics.median(r.per_s for r in rounds),
        statistics.median(r.p50_ms for r in rounds),
        statistics.median(r.p90_ms for r in rounds),
        statistics.median(r.p99_ms for r in rounds),
    )


def publish(name: str, rows: Sequence[Row]) -> None:
    """Print the table and write build/bench/NAME.json."""
    print(f"{'path':<24}{'in flight':>9}{'bytes':>7}{'per s':>9}{'p50':>7}{'p90':>7}{'p99':>7}  ratio")
    for row in rows:
        ratio = f"{row.ratio:5.2f} × {row.ratio_to}" if row.ratio_to else "    –"
        print(
            f"{row.name:<24}{row.in_flight:>9}{row.payload:>7}{row.per_s:>9,.0f}"
            f"{row.p50_ms:>7.2f}{row.p90_ms:>7.2f}{row.p99_ms:>7.2f}  {ratio}"
        )
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / f"{name}.json").write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
