"""Put the tables that the benchmarks wrote into docs/performance.md, each between its two marks."""

import re
from collections.abc import Mapping

from bench.processes import ROOT
from bench.report import OUT

PAGE = ROOT / "docs" / "performance.md"
MARKED = re.compile(r"(<!-- table (?P<name>\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def insert(page: str, tables: Mapping[str, str]) -> str:
    """The page with these tables; one that was not measured stays as it is."""

    def replaced(match: re.Match[str]) -> str:
        table = tables.get(match["name"])
        return match[0] if table is None else f"{match[1]}\n{table.strip()}\n\n{match[3]}"

    return MARKED.sub(replaced, page)


def main() -> None:
    tables = {file.stem: file.read_text() for file in OUT.glob("*.md")}
    PAGE.write_text(insert(PAGE.read_text(), tables))
    print(f"{PAGE.relative_to(ROOT)}: {', '.join(sorted(tables)) or 'no tables yet: make bench'}")


if __name__ == "__main__":
    main()
