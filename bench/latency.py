"""What the path adds to a direct call at a fixed rate: 1,000 and 5,000 calls per second of 1 KiB over 16 connections.

Open loop: calls start when they are due, and a latency counts from then. `added` is through minus direct within one
round, the median over the rounds. Direct is a unary gRPC call by a client of the same language. TLS is between gateway
and sidecar; Dapr's is between its two sidecars. The column `in flight` says how many connections there are.
"""

import contextlib
import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from pathlib import Path as File

from bench.baselines.dapr import path as dapr
from bench.certificates import make_certificate
from bench.load import Task
from bench.machine import prepare
from bench.options import Options, read_options
from bench.ours import DIRECT, SWITCHBOARD, SWITCHBOARD_TLS, direct_path, switchboard_path
from bench.paths import Path, PathFailed, Sample, Unavailable, take_turns
from bench.report import Row, publish, row_of

CONNECTIONS = 16
PAYLOAD = 1024
RATES = (1000.0, 5000.0)
# What is compared with what
DIRECT_OF = {SWITCHBOARD: DIRECT, SWITCHBOARD_TLS: DIRECT, dapr.NAME: dapr.DIRECT}

Found = Mapping[tuple[str, Task], Sequence[Sample]]


def added(found: Found, name: str, task: Task) -> Row | None:
    """The row of what a path adds; None when it or its direct call could not be measured in every round."""
    through, direct = found.get((name, task), []), found.get((DIRECT_OF[name], task), [])
    if not through or len(through) != len(direct):
        return None
    pairs = [(one.measured, other.measured) for one, other in zip(through, direct, strict=True)]
    return replace(
        row_of(name, task, through),
        name=f"added by {name}",
        p50_ms=statistics.median(one.p50_ms - other.p50_ms for one, other in pairs),
        p90_ms=statistics.median(one.p90_ms - other.p90_ms for one, other in pairs),
        p99_ms=statistics.median(one.p99_ms - other.p99_ms for one, other in pairs),
        ratio_to=DIRECT_OF[name],
        ratio=statistics.median(one.per_s / other.per_s for one, other in pairs),
    )


def rows_of(found: Found, tasks: Sequence[Task]) -> list[Row]:
    """For each rate: every path, then what each adds."""
    rows = []
    for task in tasks:
        rows += [row_of(name, other, samples) for (name, other), samples in found.items() if other == task]
        rows += [row for name in DIRECT_OF if (row := added(found, name, task)) is not None]
    return rows


def open_paths(stack: contextlib.ExitStack, options: Options) -> list[Path]:
    """Ours, and Dapr's where it can be had."""
    tls = make_certificate(File(stack.enter_context(tempfile.TemporaryDirectory())))
    makers: list[Callable[[], AbstractContextManager[Path]]] = [
        partial(direct_path, CONNECTIONS),
        partial(switchboard_path, CONNECTIONS),
        partial(switchboard_path, CONNECTIONS, tls=tls),
    ]
    if not options.only or "dapr" in options.only:
        makers += [partial(dapr.direct_path, CONNECTIONS), partial(dapr.dapr_path, CONNECTIONS)]
    found = []
    for make in makers:
        try:
            found.append(stack.enter_context(make()))
        except (Unavailable, PathFailed, TimeoutError) as error:
            print(f"left out: {error}", flush=True)
    return found


def main() -> None:
    options = read_options(__doc__, seconds=2.0)
    tasks = [Task(CONNECTIONS, PAYLOAD, options.seconds, rate) for rate in RATES]
    with contextlib.ExitStack() as stack:
        paths = open_paths(stack, options)
        machine = prepare(halts=options.halts)
        publish("latency", rows_of(take_turns(paths, tasks, options.rounds), tasks), machine)


if __name__ == "__main__":
    main()
