"""Semantic versions and ranges of them, as callers name them: `>=1.2,<2`, `^1.2`, `~1.2.3`, `1.x`, `2.0.1`."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, total_ordering
from typing import Final

_NUMBER = r"(?:0|[1-9][0-9]{0,8})"
_TAIL = r"(?:-(?P<pre>[0-9A-Za-z.-]+))?(?:\+[0-9A-Za-z.-]+)?"
_VERSION: Final = re.compile(rf"v?(?P<major>{_NUMBER})(?:\.(?P<minor>{_NUMBER}))?(?:\.(?P<patch>{_NUMBER}))?{_TAIL}")
_WILD: Final = re.compile(rf"(?:(?P<major>{_NUMBER})\.)?(?:(?P<minor>{_NUMBER})\.)?[*xX](?:\.[*xX])*")
_TERM: Final = re.compile(r"(?P<operator>>=|<=|>|<|==|=|!=|\^|~)?\s*(?P<rest>\S+)")
_BETWEEN: Final = re.compile(r"\s*,\s*|(?<=[\w*])\s+(?=[<>=!^~\w*])")
MAX_RANGE_LENGTH: Final = 128

Triple = tuple[int, int, int]


@total_ordering
@dataclass(frozen=True, slots=True)
class Version:
    """Ordered as section 11 of Semantic Versioning 2.0.0 has it; build metadata does not count."""

    triple: Triple
    pre: tuple[str, ...] = ()

    def __lt__(self, other: "Version") -> bool:
        return self._order() < other._order()

    def _order(self) -> tuple[Triple, bool, tuple[tuple[bool, int, str], ...]]:
        # numbers come before words, and fewer identifiers before more: tuples compare so
        words = tuple((not word.isdecimal(), int(word) if word.isdecimal() else 0, word) for word in self.pre)
        return self.triple, not self.pre, words


def parse_version(text: str) -> Version | None:
    """A version; what is missing behind the major number is 0. None when it is none."""
    found = _VERSION.fullmatch(text.strip())
    return None if found is None else _version(found)


def _version(found: re.Match[str]) -> Version:
    triple = (int(found["major"]), int(found["minor"] or 0), int(found["patch"] or 0))
    return Version(triple, tuple(found["pre"].split(".")) if found["pre"] else ())


@dataclass(frozen=True, slots=True)
class _Term:
    low: Version | None = None  # at least
    high: Version | None = None  # below
    allows: Callable[[Version], bool] | None = None

    def holds(self, version: Version) -> bool:
        if self.low is not None and version < self.low:
            return False
        if self.high is not None and not version < self.high:
            return False
        return self.allows is None or self.allows(version)


class VersionRange:
    """All of its terms must hold. A pre-release is in it only when a term names one of the same three numbers."""

    __slots__ = ("_named", "_terms")

    def __init__(self, terms: tuple[_Term, ...], named: frozenset[Triple]) -> None:
        self._terms = terms
        self._named = named

    def __contains__(self, version: Version) -> bool:
        if version.pre and version.triple not in self._named:
            return False
        return all(term.holds(version) for term in self._terms)


@lru_cache(maxsize=1024)
def parse_range(text: str) -> VersionRange:
    """Read terms that are separated by commas or blanks. Raises ValueError, which says what is wrong."""
    if len(text) > MAX_RANGE_LENGTH:
        raise ValueError(f"a version range has at most {MAX_RANGE_LENGTH} characters")
    terms: list[_Term] = []
    named: set[Triple] = set()
    for part in _BETWEEN.split(text.strip()):
        found = _TERM.fullmatch(part)
        if found is None:
            raise ValueError(f"{part[:40]!r} is no term of a version range such as '>=1.2,<2'")
        terms.append(_term(found["operator"] or "", found["rest"], named))
    return VersionRange(tuple(terms), frozenset(named))


def _term(operator: str, text: str, named: set[Triple]) -> _Term:
    wild = _WILD.fullmatch(text)
    if wild is not None and operator in ("", "=", "=="):
        return _wild(wild)
    found = _VERSION.fullmatch(text)
    if found is None:
        raise ValueError(f"{text[:40]!r} is no version; say for example 1.2 or 1.2.0")
    version = _version(found)
    if version.pre:
        named.add(version.triple)
    if operator in ("^", "~"):
        return _Term(low=version, high=_next(found, version.triple, caret=operator == "^"))
    if found["patch"] is None and not version.pre:  # 1.2 stands for every 1.2.z
        beyond = _next(found, version.triple, caret=False)
        if operator in ("", "=", "=="):
            return _Term(low=version, high=beyond)
        if operator == ">":
            return _Term(low=beyond)
        if operator == "<=":
            return _Term(high=beyond)
    return _Term(allows=_COMPARE[operator or "="](version))


_COMPARE: Final[dict[str, Callable[[Version], Callable[[Version], bool]]]] = {
    "=": lambda bound: lambda version: version == bound,
    "==": lambda bound: lambda version: version == bound,
    "!=": lambda bound: lambda version: version != bound,
    ">=": lambda bound: lambda version: version >= bound,
    ">": lambda bound: lambda version: version > bound,
    "<=": lambda bound: lambda version: version <= bound,
    "<": lambda bound: lambda version: version < bound,
}


def _wild(found: re.Match[str]) -> _Term:
    if found["major"] is None:
        return _Term()
    major = int(found["major"])
    if found["minor"] is None:
        return _Term(Version((major, 0, 0)), Version((major + 1, 0, 0)))
    minor = int(found["minor"])
    return _Term(Version((major, minor, 0)), Version((major, minor + 1, 0)))


def _next(found: re.Match[str], triple: Triple, *, caret: bool) -> Version:
    """The first version outside. ^ keeps the first number that is not 0; ~ keeps what is named, up to the minor."""
    major, minor, patch = triple
    if caret:
        if major or found["minor"] is None:
            return Version((major + 1, 0, 0))
        if minor or found["patch"] is None:
            return Version((0, minor + 1, 0))
        return Version((0, 0, patch + 1))
    return Version((major + 1, 0, 0)) if found["minor"] is None else Version((major, minor + 1, 0))
