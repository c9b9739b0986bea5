"""Each promise of a page names its test, and each name is one of a test that there is."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("page", "at_least"), [("explanation/routing.md", 30), ("explanation/sidecar.md", 5), ("reliability.md", 30)]
)
def test_every_test_that_the_promises_name_exists(page: str, at_least: int) -> None:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    named = set(re.findall(r"`(test_[a-z0-9_]+)`", text))
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py")]
    there = {name for source in sources for name in re.findall(r"def (test_[a-z0-9_]+)\(", source)}
    assert len(named) > at_least
    assert named - there == set()
