"""Do long work in steps that overlap where they can, and tell people about it.

Every line stands alone and fits in 80 columns, so it reads the same on a terminal and in the log of a build.
"""

import sys
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

from devcluster.faults import ClusterError

REMIND_S = 20.0  # how often a running step says that it is still at it: short of the patience of people
WIDTH = 80


@dataclass(frozen=True, slots=True)
class Step:
    """A piece of work: what it is called, how long it should take, which steps must be done before."""

    title: str
    action: Callable[[], object]
    expected_s: float = 0
    after: tuple[str, ...] = ()


def show(text: str) -> None:
    """Write one line for people."""
    print(text if len(text) <= WIDTH else text[: WIDTH - 1] + "…", file=sys.stderr, flush=True)


def run_steps(steps: Sequence[Step]) -> None:
    """Run the steps, each as soon as those before it are done.

    After the first fault nothing new begins, and that fault is raised once what runs has ended.
    """
    begun_at, started, done = time.monotonic(), dict[Future[object], tuple[Step, float]](), set[str]()
    waiting, fault = list(steps), None
    with ThreadPoolExecutor(max_workers=max(1, len(steps))) as pool:
        while started or (waiting and fault is None):
            for step in [step for step in waiting if done.issuperset(step.after)] if fault is None else []:
                waiting.remove(step)
                announce(step, begun_at)
                started[pool.submit(step.action)] = (step, time.monotonic())
            if not started:
                raise ClusterError(f"steps wait for each other: {[step.title for step in waiting]}")
            finished, _ = wait(started, timeout=REMIND_S, return_when=FIRST_COMPLETED)
            for future in finished:
                step, since = started.pop(future)
                fault = conclude(step, since, future) or fault
                done.add(step.title)
            if not finished:
                remind(started.values())
    if fault is not None:
        raise fault


def announce(step: Step, begun_at: float) -> None:
    """Say that a step begins, when it is long enough to be waited for."""
    if step.expected_s >= 2:
        show(f"[{time.monotonic() - begun_at:4.0f} s] {step.title} … (about {step.expected_s:.0f} s)")


def conclude(step: Step, since: float, future: Future[object]) -> BaseException | None:
    """Say how a step ended; return its fault."""
    gone = time.monotonic() - since
    fault = future.exception()
    if fault is not None:
        show(f"  failed {step.title}, after {gone:.0f} s")
    elif step.expected_s >= 2:
        show(f"    done {step.title}: {gone:.0f} s of about {step.expected_s:.0f} s")
    return fault


def remind(running: Iterable[tuple[Step, float]]) -> None:
    """Say which steps still run."""
    for step, since in running:
        show(f"   still {step.title}: {time.monotonic() - since:.0f} s of about {step.expected_s:.0f} s")
