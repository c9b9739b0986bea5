"""How tables come into the page."""

from bench.processes import ROOT
from bench.record import MARKED, PAGE, insert

PAGE_TEXT = "before\n<!-- table one -->\nold\n<!-- end -->\nbetween\n<!-- table two -->\nstays\n<!-- end -->\n"


def test_a_table_takes_the_place_of_the_former_one_and_no_other() -> None:
    found = insert(PAGE_TEXT, {"one": "| new |\n"})
    expected = (
        "before\n<!-- table one -->\n\n| new |\n\n<!-- end -->\nbetween\n<!-- table two -->\nstays\n<!-- end -->\n"
    )
    assert found == expected


def test_inserting_twice_changes_nothing() -> None:
    once = insert(PAGE_TEXT, {"one": "| new |\n"})
    assert insert(once, {"one": "| new |\n"}) == once


def test_the_page_has_a_place_for_every_benchmark_of_make_bench() -> None:
    marked = {match["name"] for match in MARKED.finditer(PAGE.read_text())}
    recipe = (ROOT / "Makefile").read_text().partition("\nbench: ")[2].partition("\n.PHONY")[0]
    run = {
        line.split()[2].removeprefix("bench.")
        for line in recipe.splitlines()
        if "-m bench." in line and "@" not in line
    }
    assert run
    assert run <= marked
