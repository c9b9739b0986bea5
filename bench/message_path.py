"""SDK → gateway → sidecar → host as four processes, unary and streaming, beside bare gRPC from client to server.

Once plain, and once with TLS between gateway and sidecar, as the chart installs it; tokens are checked when a stream
begins, and never again.

In a streaming call the answer has 100 pieces: per_s counts pieces, and a latency is the time to the first one.
"""

import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path as File

from bench.certificates import make_certificate
from bench.machine import prepare
from bench.options import Options, read_options
from bench.ours import SWITCHBOARD, direct_path, switchboard_path
from bench.paths import take_turns
from bench.report import Row, compare, publish


def measure(options: Options, stream: bool) -> list[Row]:
    """The rows of one of the two shapes; streaming paths say so in their name."""
    with (
        tempfile.TemporaryDirectory() as folder,
        switchboard_path(stream=stream) as ours,
        switchboard_path(stream=stream, tls=make_certificate(File(folder))) as ours_tls,
        direct_path(stream=stream) as direct,
    ):
        suffix = ", streaming" if stream else ""
        paths = [replace(path, name=path.name + suffix) for path in (ours, ours_tls, direct)]
        return compare(take_turns(paths, options.tasks(), options.rounds), SWITCHBOARD + suffix)


def main() -> None:
    options = read_options(__doc__, seconds=0.6)
    machine = prepare(halts=options.halts)
    rows = [row for shape in map(partial(measure, options), (False, True)) for row in shape]
    publish("message_path", rows, machine)


if __name__ == "__main__":
    main()
