"""The figures that tests of reliability measure, for the table of docs/reliability.md."""

import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import pytest
from live.figures_table import merge, tables
from live.outcomes import Figures
from live.steady import Steady

Json = dict[str, Any]


class Pair(Protocol):
    """Two loads at the same time: calls that may be delivered twice, and calls that may not."""

    @property
    def safe(self) -> Steady: ...
    @property
    def once(self) -> Steady: ...


@dataclass(slots=True)
class Report:
    """Rows of figures: one for each load of each scenario, one for a scenario that has none."""

    rows: list[Json] = field(default_factory=list)

    def add(self, scenario: str, load: str, figures: Figures, **more: float) -> None:
        """Note the figures of one load; `more`: what the scenario alone can tell."""
        measured = {
            "calls": figures.calls,
            "per_s": round(figures.per_s),
            "failed": dict(figures.failed),
            "p50_ms": round(figures.p50_ms, 1),
            "p99_ms": round(figures.p99_ms, 1),
            "max_ms": round(figures.max_ms),
            "gap_ms": round(figures.gap_s * 1000),
            "late_p99_ms": round(figures.late_p99_ms, 1),
        }
        self._note(scenario, load, measured, more)

    def add_pair(self, scenario: str, pair: Pair, **more: float) -> None:
        self.add(scenario, "idempotent", pair.safe.figures(), **more)
        self.add(scenario, "at most once", pair.once.figures())

    def add_times(self, scenario: str, **more: float) -> None:
        """Note what a scenario without a load can tell."""
        self._note(scenario, "", {}, more)

    def _note(self, scenario: str, load: str, measured: Json, more: dict[str, float]) -> None:
        rounded = {name: round(value, 3) for name, value in more.items()}
        self.rows.append({"scenario": scenario, "load": load} | measured | rounded)

    def publish(self, path: Path) -> None:
        """Put the rows among those of the file, which other test runs wrote, and print them as tables."""
        before: list[Json] = json.loads(path.read_text()) if path.exists() else []
        path.write_text(json.dumps(merge(before, self.rows), indent=1) + "\n")
        sys.stdout.write("\n\n" + "\n".join(tables(self.rows)) + "\n")


@pytest.fixture(scope="session")
def report() -> Iterator[Report]:
    """The figures of the scenarios, written and shown at the end where RELIABILITY_OUT says so."""
    made = Report()
    yield made
    if "RELIABILITY_OUT" in os.environ:
        made.publish(Path(os.environ["RELIABILITY_OUT"]))
