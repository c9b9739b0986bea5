"""Each promise in docs/explanation/routing.md names its test, and each name is one of a test that there is."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_every_test_that_the_promises_name_exists() -> None:
    text = (ROOT / "docs/explanation/routing.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(test_[a-z0-9_]+)`", text))
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "tests/unit").rglob("test_*.py")]
    there = {name for source in sources for name in re.findall(r"def (test_[a-z0-9_]+)\(", source)}
    assert len(named) > 30
    assert named - there == set()
