"""AutoGen's gRPC host and a worker; the load is a second worker, as its clients are."""

import contextlib
from collections.abc import Iterator
from pathlib import Path as File

from bench.building import python_environment
from bench.paths import Path, loader
from bench.processes import free_port, process, wait_for_port

NAME = "AutoGen"
PROGRAMS = "bench.baselines.autogen.programs"


@contextlib.contextmanager
def autogen_path() -> Iterator[Path]:
    """In an environment of its own: its libraries are older than ours. Raises Unavailable."""
    python = python_environment("autogen", File(__file__).parent / "requirements.txt")
    port = free_port()
    address = f"127.0.0.1:{port}"
    with process([python, "-m", PROGRAMS, "host", address]) as host:
        wait_for_port(port)
        with (
            process([python, "-m", PROGRAMS, "worker", address]) as worker,
            loader([python, "-m", PROGRAMS, "load", address]) as load,
        ):
            yield Path(NAME, {"host": host, "worker": worker}, load.measure)
