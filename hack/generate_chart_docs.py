"""Write the table of values in the chart's README from the comments in values.yaml; with --check, only compare.

A comment that begins with `# --` describes the value below it: a scalar, or a whole map or list that the user fills.
A value without such a comment, on itself or on something above it, is an error.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

CHART = Path(__file__).resolve().parent.parent / "charts" / "switchboard"
BEGIN, END = "<!-- values: begin -->", "<!-- values: end -->"
MARK = "# -- "


class UndocumentedError(Exception):
    """A value has no comment that describes it."""


@dataclass(frozen=True, slots=True)
class Row:
    """One value: its dotted path, its default as JSON, its description."""

    path: str
    default: str
    description: str


def read_rows(text: str) -> Iterator[Row]:
    """The documented values of values.yaml, in its order. Raises UndocumentedError."""
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    assert isinstance(root, yaml.MappingNode), "values.yaml is not a map"
    yield from _rows_below(root, "", text.splitlines())


def _rows_below(node: yaml.MappingNode, prefix: str, lines: list[str]) -> Iterator[Row]:
    for key, value in node.value:
        path = f"{prefix}{key.value}"
        description = _comment_above(lines, key.start_mark.line)
        if description:
            yield Row(path, _default(value), description)
        elif isinstance(value, yaml.MappingNode) and value.value:
            yield from _rows_below(value, f"{path}.", lines)
        else:
            raise UndocumentedError(f"values.yaml line {key.start_mark.line + 1}: {path} has no '{MARK}' comment")


def _comment_above(lines: list[str], line: int) -> str:
    """The text of the comment right above `line` (from 0), or '' where there is none."""
    text = lines[line - 1].strip() if line else ""
    return text.removeprefix(MARK) if text.startswith(MARK) else ""


def _default(node: yaml.Node) -> str:
    value = yaml.safe_load(yaml.serialize(node))
    return json.dumps(value, ensure_ascii=False)


def render_table(rows: Iterator[Row]) -> str:
    """The rows as a table of markdown."""
    lines = ["| Value | Default | Meaning |", "|---|---|---|"]
    lines += [f"| `{row.path}` | `{row.default}` | {row.description} |" for row in rows]
    return "\n".join(lines)


def insert_table(readme: str, table: str) -> str:
    """The README with what is between the two marks replaced."""
    before, _, rest = readme.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table}\n{END}{after}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare with the committed README and write nothing")
    check = parser.parse_args().check
    path = CHART / "README.md"
    current = path.read_text(encoding="utf-8")
    try:
        wanted = insert_table(current, render_table(read_rows((CHART / "values.yaml").read_text(encoding="utf-8"))))
    except UndocumentedError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    if check and wanted != current:
        sys.stderr.write("charts/switchboard/README.md is out of date: run make generate\n")
        return 1
    if not check:
        path.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
