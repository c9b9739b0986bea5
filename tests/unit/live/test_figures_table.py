"""The figures as a table, and their place in a page."""

import pytest
from live.figures_table import BEGIN, END, insert, merge, tables

ROW = {
    "scenario": "a pod killed",
    "load": "idempotent",
    "calls": 12000,
    "per_s": 1000,
    "failed": {},
    "p50_ms": 3.2,
    "p99_ms": 20.0,
    "max_ms": 100,
    "gap_ms": 7,
    "late_p99_ms": 1.0,
    "new_leader_s": 12.5,
}


def test_a_row_tells_what_failed_and_what_only_its_scenario_knows() -> None:
    failed = ROW | {"failed": {"NODE_UNAVAILABLE delivered=MAYBE": 3}}

    lines = tables([ROW, failed])

    assert lines[2] == (
        "| a pod killed | idempotent | 12,000 | 1,000 | 0 | 3.2 ms | 20 ms | 100 ms | 7 ms | new leader (s) 12.5 |"
    )
    assert "| 3 NODE_UNAVAILABLE delivered=MAYBE |" in lines[3]


def test_what_has_no_load_has_a_table_of_its_own() -> None:
    plain = {"scenario": "the watches fail", "load": "", "works_again_after_s": 1.5}

    assert tables([plain]) == [
        "| scenario | figures |",
        "| --- | --- |",
        "| the watches fail | works again after (s) 1.5 |",
    ]
    assert tables([plain, ROW]) == [*tables([ROW]), "", *tables([plain])]


def test_rows_of_a_later_run_replace_those_of_the_same_scenario_and_load() -> None:
    other, newer = ROW | {"load": "at most once"}, ROW | {"calls": 7}

    assert merge([ROW, other], [newer]) == [newer, other]
    assert merge([other], [newer]) == [other, newer]


def test_new_figures_take_the_place_of_the_old_and_nothing_else() -> None:
    page = f"# Head\n{BEGIN}\nold\n{END}\ntail\n"

    once = insert(page, [ROW])

    assert "old" not in once
    assert once.startswith("# Head\n")
    assert once.endswith(f"{END}\ntail\n")
    assert insert(once, [ROW]) == once


def test_a_page_without_a_place_is_refused() -> None:
    with pytest.raises(ValueError, match="no place for it"):
        insert("# Head\n", [ROW])
