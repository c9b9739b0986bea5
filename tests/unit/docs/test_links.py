"""Every page leads where it says: relative links, their anchors, and the files that the architecture page names."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGES = sorted(
    path for pattern in ("*.md", "docs/**/*.md", "examples/**/*.md", "charts/**/*.md") for path in ROOT.glob(pattern)
)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`[^`\n]*`")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
FILE = re.compile(r"`([\w.-]+(?:/[\w.-]+)*/(?:[\w.-]+)?|[\w.-]+\.py)`")


def prose(page: Path) -> str:
    """A page without its code blocks, where brackets and hashes mean something else."""
    return FENCE.sub("", page.read_text())


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives to a page's headings."""
    found: set[str] = set()
    for heading in HEADING.findall(prose(page)):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
        slug = re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
        number = sum(1 for other in found if re.fullmatch(re.escape(slug) + r"(-\d+)?", other))
        found.add(f"{slug}-{number}" if number else slug)
    return found


def faults(page: Path) -> list[str]:
    """The links of a page that lead nowhere."""
    wrong = []
    for link in LINK.findall(CODE.sub("", prose(page))):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if not target.exists():
            wrong.append(f"{link}: no such file")
        elif anchor and anchor not in anchors(target):
            wrong.append(f"{link}: no such heading")
    return wrong


def missing_files(text: str) -> list[str]:
    """The files and folders that a text names and that are not there. A file name alone is in the folder of the one
    before it."""
    missing, folder = [], ROOT
    for name in FILE.findall(text):
        path = ROOT / name if "/" in name else folder / name
        if not path.exists():
            missing.append(name)
        folder = path.parent
    return missing


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_every_link_leads_somewhere(page: Path) -> None:
    assert faults(page) == []


def test_a_link_that_leads_nowhere_is_found(tmp_path: Path) -> None:
    (tmp_path / "other.md").write_text("# One `thing`, two\n# Twice\n# Twice\n```\n# no heading\n```\n")
    page = tmp_path / "page.md"
    page.write_text(
        "[a](other.md) [b](other.md#one-thing-two) [c](other.md#twice-1) [d](https://example.com/x)\n"
        "[e](gone.md) [`f`](other.md#no-heading) `[h](pattern)`\n```\n[g](in-code.md)\n```\n"
    )
    assert faults(page) == ["gone.md: no such file", "other.md#no-heading: no such heading"]


def test_every_file_that_the_architecture_names_is_there() -> None:
    text = (ROOT / "docs/architecture.md").read_text()
    assert missing_files(text) == []
    assert len(FILE.findall(text)) > 20, "the pattern finds the names no more"


def test_a_file_that_is_not_there_is_found() -> None:
    assert missing_files("`operator/switchboard_operator/checks.py` and `gone.py`, `nowhere/`") == [
        "gone.py",
        "nowhere/",
    ]


def test_every_target_that_a_page_names_is_in_a_makefile() -> None:
    makefiles = [ROOT / "Makefile", *ROOT.glob("hack/*/*.mk")]
    targets = {name for file in makefiles for name in re.findall(r"^([a-z][a-z-]*):", file.read_text(), re.MULTILINE)}
    named = {
        (page.name, target)
        for page in PAGES
        for target in re.findall(r"(?:`|^\$ |^ {4}|^)make ([a-z-]+)", page.read_text(), re.MULTILINE)
    }
    assert named
    assert sorted((page, target) for page, target in named if target not in targets) == []
