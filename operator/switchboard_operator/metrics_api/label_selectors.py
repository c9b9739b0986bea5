"""Label selectors as a query carries them: `a=b,c!=d,e in (f,g),h notin (i),j,!k`. Pure."""

import re
from collections.abc import Callable, Mapping
from typing import Final

Labels = Mapping[str, str]
Matches = Callable[[Labels], bool]

# A selector is at most as long as a URL; requirements have no commas but in brackets
_SPLIT: Final = re.compile(r",(?![^(]*\))")
_SET: Final = re.compile(r"^(\S+)\s+(in|notin)\s*\(([^()]*)\)$")
_EQUALITY: Final = re.compile(r"^([^=!\s]+)\s*(==|=|!=)\s*([^=!\s]*)$")
_EXISTS: Final = re.compile(r"^(!?)\s*([^=!\s()]+)$")


def parse_selector(text: str) -> Matches:
    """What a selector matches; an empty one matches everything. Raises ValueError."""
    if not text.strip():
        return lambda labels: True
    requirements = [_requirement(part.strip()) for part in _SPLIT.split(text)]
    return lambda labels: all(holds(labels) for holds in requirements)


def _requirement(text: str) -> Matches:
    if found := _SET.match(text):
        key, operator, listed = found.groups()
        values = frozenset(value.strip() for value in listed.split(","))
        if operator == "in":
            return lambda labels: key in labels and labels[key] in values
        return lambda labels: labels.get(key) not in values
    if found := _EQUALITY.match(text):
        key, operator, value = found.groups()
        if operator == "!=":
            return lambda labels: labels.get(key) != value
        return lambda labels: labels.get(key) == value
    if found := _EXISTS.match(text):
        absent, key = found.groups()
        return lambda labels: (key in labels) is not bool(absent)
    raise ValueError(f"{text!r} is no requirement of a label selector")
