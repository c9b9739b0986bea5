"""A part of a page that a command writes, between two marks. Pure."""

from collections.abc import Sequence


def put_between(page: str, marks: tuple[str, str], lines: Sequence[str]) -> str:
    """The page with these lines between its two marks, instead of what stood there. Raises ValueError without marks."""
    before, begin, rest = page.partition(marks[0])
    _, end, after = rest.partition(marks[1])
    if not begin or not end:
        raise ValueError(f"no place for it: {marks[0]} … {marks[1]}")
    return "\n".join([f"{before}{begin}", "", *lines, "", f"{end}{after}"])
