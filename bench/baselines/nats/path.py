"""NATS request-reply: server, responder and load in Go, three processes."""

import contextlib
from collections.abc import Iterator

from bench.building import go_program
from bench.paths import Path, loader
from bench.processes import free_port, process, wait_for_port

NAME = "NATS"


@contextlib.contextmanager
def nats_path() -> Iterator[Path]:
    """One connection for all calls, as the SDK has one session. Raises Unavailable."""
    program, port = go_program("nats"), free_port()
    words = ["-port", str(port)]
    with process([program, "server", *words]) as server:
        wait_for_port(port)
        with (
            process([program, "respond", *words]) as responder,
            loader([program, "load", *words]) as load,
        ):
            yield Path(NAME, {"server": server, "responder": responder}, load.measure)
