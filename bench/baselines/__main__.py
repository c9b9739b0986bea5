"""The same work through others: NATS, AutoGen, nginx and Dapr, in turn with Switchboard's own path.

Each is built on first use and left out, with a line that says why, where that cannot be done. A ratio of 2 says that
Switchboard carries twice as many calls per second.
"""

import contextlib
from collections.abc import Callable
from contextlib import AbstractContextManager

from bench.baselines.autogen.path import autogen_path
from bench.baselines.dapr.path import dapr_path
from bench.baselines.nats.path import nats_path
from bench.baselines.nginx.path import nginx_path
from bench.machine import prepare
from bench.options import Options, read_options
from bench.ours import SWITCHBOARD, switchboard_path
from bench.paths import Path, PathFailed, Unavailable, take_turns
from bench.report import compare, publish

BASELINES: dict[str, Callable[[], AbstractContextManager[Path]]] = {
    "nats": nats_path,
    "autogen": autogen_path,
    "nginx": nginx_path,
    "dapr": dapr_path,
}


def open_baselines(stack: contextlib.ExitStack, options: Options) -> list[Path]:
    """Start those that are wanted and can be had."""
    unknown = options.only - BASELINES.keys()
    if unknown:
        raise SystemExit(f"there is no {', '.join(sorted(unknown))}: choose from {', '.join(BASELINES)}")
    found = []
    for name, make in BASELINES.items():
        if options.only and name not in options.only:
            continue
        try:
            found.append(stack.enter_context(make()))
        except (Unavailable, PathFailed, TimeoutError) as error:
            print(f"left out: {name}: {error}", flush=True)
    return found


def main() -> None:
    options = read_options(__doc__, seconds=0.6)
    with contextlib.ExitStack() as stack:
        others = open_baselines(stack, options)
        ours = stack.enter_context(switchboard_path())
        machine = prepare(halts=options.halts)
        publish(
            "baselines", compare(take_turns([ours, *others], options.tasks(), options.rounds), SWITCHBOARD), machine
        )


if __name__ == "__main__":
    main()
