"""Instances as routing sees them, for tests and for the simulation's."""

from dataclasses import dataclass
from typing import Any


@dataclass(eq=False)
class Fake:
    """A candidate with every number in the open. Compared by identity, as candidates are."""

    name: str
    zone: str = ""
    in_flight: int = 0
    free: int = 16
    full: int = 116
    capacity: float = 16.0
    latency_s: float = 0.01
    weight: float = 100.0


def make_fakes(count: int, **changes: Any) -> list[Fake]:
    """`count` equal candidates called i0, i1, …"""
    return [Fake(f"i{number}", **changes) for number in range(count)]
