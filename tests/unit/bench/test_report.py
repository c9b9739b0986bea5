"""Medians, ratios, the table and the JSON of a benchmark; what is read from h2load."""

import json

import pytest

from bench.h2load import read_figures
from bench.load import Measured, Task
from bench.paths import PathFailed, Sample
from bench.report import Row, compare, median_of, render, to_json


def make_sample(per_s: float, p50_ms: float = 1.0, cpu_s: float = 0.5) -> Sample:
    return Sample(Measured(per_s, p50_ms, 2.0, 3.0), cpu_s)


def test_each_figure_has_a_median_of_its_own() -> None:
    rounds = [
        Measured(1, 30, 5, 6),
        Measured(2, 10, 5, 6, 1, {"TimeoutError": 1}),
        Measured(3, 20, 5, 6, 2, {"TimeoutError": 1, "OSError": 1}),
    ]
    assert median_of(rounds) == Measured(2, 20, 5, 6, 3, {"TimeoutError": 2, "OSError": 1})


def test_the_subject_has_a_row_for_each_baseline_and_the_baselines_one_each() -> None:
    task = Task(32, 256, 1.0)
    found = {("ours", task): [make_sample(60)] * 3, ("a", task): [make_sample(20)], ("b", task): [make_sample(120)]}
    rows = [(row.name, row.ratio_to, row.ratio) for row in compare(found, "ours")]
    assert rows == [("a", "", 1.0), ("b", "", 1.0), ("ours", "a", 3.0), ("ours", "b", 0.5)]


def test_processor_time_is_that_of_all_rounds() -> None:
    task = Task(1, 256, 1.0)
    (row,) = compare({("ours", task): [make_sample(1), make_sample(1)]}, "ours")
    assert row.cpu_s == 1.0


def test_a_ratio_is_taken_within_one_task() -> None:
    few, many = Task(1, 256, 1.0), Task(32, 256, 1.0)
    found = {
        ("ours", many): [make_sample(40)],
        ("a", many): [make_sample(10)],
        ("ours", few): [make_sample(4)],
        ("a", few): [make_sample(8)],
    }
    ratios = [(row.in_flight, row.ratio) for row in compare(found, "ours") if row.ratio_to]
    assert ratios == [(1, 0.5), (32, 4.0)]


def test_a_baseline_that_failed_in_one_task_leaves_the_others_standing() -> None:
    few, many = Task(1, 256, 1.0), Task(32, 256, 1.0)
    found = {("ours", few): [make_sample(4)], ("a", few): [make_sample(2)], ("ours", many): [make_sample(9)]}
    assert [(row.name, row.in_flight, row.ratio_to) for row in compare(found, "ours")] == [
        ("a", 1, ""),
        ("ours", 1, "a"),
        ("ours", 32, ""),
    ]


def test_the_table_is_markdown_with_every_figure() -> None:
    row = Row("ours", 128, 256, 12345.6, 1.234, 5.678, 123.4, 9.87, "a", 2.5)
    first, rule, line = render([row]).splitlines()
    assert first.count("|") == rule.count("|") == line.count("|") == 10
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells == ["ours", "128", "256", "12,346", "1.23", "5.68", "123", "9.9", "2.50 × a"]


def test_the_file_has_the_promised_keys_and_null_for_what_is_not_there() -> None:
    (row,) = json.loads(to_json([Row("ours", 1, 256, 0, float("nan"), 1, 1, 0)]))
    keys = ["name", "in_flight", "payload", "per_s", "p50_ms", "p90_ms", "p99_ms", "cpu_s", "ratio_to", "ratio"]
    assert list(row) == keys
    assert row["p50_ms"] is None


H2LOAD = """\
requests: 4 total, 4 started, 4 done, 3 succeeded, 1 failed, 0 errored, 0 timeout
traffic: 1.20MB (1261296) total, 257B (257) headers (space savings 39.80%), 30B (30) data
"""
LOG = "1795276744426617\t200\t2000\n1795276744426864\t200\t1000\n1795276744426864\t500\t9000\n1\t200\t3000\n"


def test_h2loads_figures_are_those_of_its_log_and_its_counts() -> None:
    assert read_figures(H2LOAD, LOG, 10, 0.5) == Measured(6.0, 2.0, 3.0, 3.0, 1, {"NotSucceeded": 1})


@pytest.mark.parametrize("answer_bytes", [11, 1000])
def test_answers_that_are_too_short_are_errors_which_h2load_does_not_see(answer_bytes: int) -> None:
    with pytest.raises(PathFailed, match="30 bytes"):
        read_figures(H2LOAD, LOG, answer_bytes, 0.5)
