"""The options that the benchmarks share."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

from bench.load import Task

IN_FLIGHT = (1, 32, 128, 512)
PAYLOADS = (256, 4096)


@dataclass(frozen=True, slots=True)
class Options:
    """quick: one short round, to see that everything runs. halts: idle processors may halt."""

    rounds: int
    seconds: float
    in_flight: Sequence[int]
    payloads: Sequence[int]
    quick: bool
    halts: bool
    only: frozenset[str]

    def tasks(self) -> list[Task]:
        """Every payload at every number in flight."""
        return [Task(count, size, self.seconds) for size in self.payloads for count in self.in_flight]


def numbers(text: str) -> list[int]:
    """A list of numbers, separated by commas."""
    return [int(part) for part in text.split(",")]


def read_options(
    description: str | None,
    *,
    seconds: float,
    in_flight: Sequence[int] = IN_FLIGHT,
    payloads: Sequence[int] = PAYLOADS,
) -> Options:
    """Read the command line, with these defaults. seconds: of a measurement."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="medians are taken over them (%(default)s)")
    parser.add_argument("--seconds", type=float, default=seconds, help="of each measurement (%(default)s)")
    parser.add_argument("--in-flight", type=numbers, default=in_flight, metavar="N,N")
    parser.add_argument("--payload", type=numbers, default=payloads, metavar="BYTES,BYTES", help="each way")
    parser.add_argument("--only", default="", metavar="NAME,NAME", help="these baselines alone")
    parser.add_argument("--quick", action="store_true", help="one short round, to see that everything runs")
    parser.add_argument("--halts", action="store_true", help="let idle processors halt instead of keeping them awake")
    given = parser.parse_args()
    return Options(
        rounds=1 if given.quick else given.rounds,
        seconds=min(given.seconds, 0.5) if given.quick else given.seconds,
        in_flight=given.in_flight,
        payloads=given.payload,
        quick=given.quick,
        halts=given.halts,
        only=frozenset(filter(None, given.only.split(","))),
    )
