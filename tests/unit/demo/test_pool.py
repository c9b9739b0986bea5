"""The table of who answered."""

from collections import Counter

from demo.pool import spread_rows


def test_shares_add_up_and_those_that_are_gone_are_named():
    rows = spread_rows(Counter({"b": 3, "a": 1}), {"a": "zone-a"})

    assert [(row[0], row[1], row[2], str(row[3]).split()[0]) for row in rows[1:]] == [
        ("a", "zone-a", 1, "25%"),
        ("b", "gone", 3, "75%"),
    ]


def test_no_answers_are_a_table_without_rows():
    assert len(spread_rows(Counter(), {})) == 1
