"""Versions of grpcio compared: an echo over bare grpc.aio streams, each version in an environment of its own.

A ratio above 1 says that the newest is faster. Requirements are the files VERSION.txt beside this one.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path as File

from bench.building import python_environment
from bench.machine import prepare
from bench.options import read_options
from bench.paths import Path, Unavailable, loader, take_turns
from bench.processes import free_port, process, wait_for_port
from bench.report import compare, publish

PROGRAMS = "bench.baselines.grpcio.programs"
NEWEST = "1.85.1"
VERSIONS = ("1.70.0", NEWEST)
IN_FLIGHT = (1, 32)
PAYLOADS = (256, 16384)


def name_of(version: str) -> str:
    return f"grpcio {version}"


@contextlib.contextmanager
def grpcio_path(version: str) -> Iterator[Path]:
    """Client and server of one version. Raises Unavailable."""
    python = python_environment(f"grpcio-{version}", File(__file__).parent / f"{version}.txt")
    port = free_port()
    address = f"127.0.0.1:{port}"
    with process([python, "-m", PROGRAMS, "serve", address]) as server:
        wait_for_port(port)
        with loader([python, "-m", PROGRAMS, "load", address]) as load:
            yield Path(name_of(version), {"server": server}, load.measure)


def main() -> None:
    options = read_options(__doc__, seconds=1.0, in_flight=IN_FLIGHT, payloads=PAYLOADS)
    with contextlib.ExitStack() as stack:
        try:
            paths = [stack.enter_context(grpcio_path(version)) for version in VERSIONS]
        except Unavailable as error:
            raise SystemExit(f"nothing to compare: {error}") from error
        machine = prepare(halts=options.halts)
        publish("grpcio", compare(take_turns(paths, options.tasks(), options.rounds), name_of(NEWEST)), machine)


if __name__ == "__main__":
    main()
