"""`python -m switchboard_sidecar` serves; `python -m switchboard_sidecar drain` is the container's preStop."""

import asyncio
import sys

from switchboard_sidecar.drain_request import request_drain
from switchboard_sidecar.settings import Settings
from switchboard_wire.errors import SwitchboardError
from switchboard_wire.v1 import frames_pb2 as pb


def main(arguments: list[str]) -> int:
    """Run one of the two; returns the exit code."""
    if arguments == ["drain"]:
        return ask_to_drain(Settings.from_environment())
    if arguments not in ([], ["serve"]):
        sys.stderr.write("usage: python -m switchboard_sidecar [serve|drain]\n")
        return 2
    return serve(Settings.from_environment())


def serve(settings: Settings) -> int:
    """Serve until SIGTERM."""
    from switchboard_runtime.process import run_component
    from switchboard_sidecar.sidecar import run_sidecar

    async def run(stop: asyncio.Event) -> None:
        await run_sidecar(settings, stop)

    run_component("sidecar", run)
    return 0


def ask_to_drain(settings: Settings) -> int:
    """Ask the serving process to drain and wait for it. A sidecar that is gone has nothing to drain: success."""
    try:
        left = asyncio.run(request_drain(settings.socket_path, "preStop"))
    except OSError as error:
        sys.stderr.write(f"nothing to drain: {error}\n")
        return 0
    except SwitchboardError as error:
        sys.stderr.write(f"drain: {error}\n")
        return 0 if error.error.code == pb.NODE_UNAVAILABLE else 1
    sys.stderr.write(f"drained, {left} calls left\n" if left else "drained\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
