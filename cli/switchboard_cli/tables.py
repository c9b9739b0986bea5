"""Rows as aligned columns."""

import shutil
import sys
from collections.abc import Iterable, Sequence


def format_columns(rows: Iterable[Sequence[str]]) -> list[str]:
    """Columns two blanks apart, as wide as they get; a line ends without blanks."""
    rows = list(rows)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def fit_columns(rows: Iterable[Sequence[str]], spare: Iterable[str], width: int | None) -> list[str]:
    """Columns under the headings of the first row, within `width` characters; None: all, however wide they get.

    Where there is not room for all, `spare` columns are left out, in their order; what is too wide even then is cut.
    """
    table = list(rows)
    lines = format_columns(table)
    for heading in spare:
        if width is None or max(map(len, lines)) <= width:
            break
        place = table[0].index(heading)
        table = [(*row[:place], *row[place + 1 :]) for row in table]
        lines = format_columns(table)
    return cut_lines(lines, width)


def cut_lines(lines: Iterable[str], width: int | None) -> list[str]:
    """Lines of at most `width` characters, an ellipsis at the end of those that were longer; None: all as they are."""
    return [line if width is None or len(line) <= width else line[: width - 1] + "…" for line in lines]


def screen_width() -> int | None:
    """Columns of the terminal to which stdout goes; None when it goes elsewhere, where nothing may be lost."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None
