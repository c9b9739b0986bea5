"""`python -m switchboard_sidecar` serves; `python -m switchboard_sidecar drain` is the container's preStop."""

import asyncio
import sys

import grpc

from switchboard_sidecar.settings import Settings
from switchboard_wire import names
from switchboard_wire.internal_v1 import links_pb2


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
    with grpc.insecure_channel(f"unix:{settings.socket_path}") as channel:
        drain = channel.unary_unary(
            names.DRAIN_METHOD,
            request_serializer=links_pb2.DrainRequest.SerializeToString,
            response_deserializer=links_pb2.DrainResponse.FromString,
        )
        try:
            left = drain(links_pb2.DrainRequest(reason="preStop")).in_flight
        except grpc.RpcError as error:
            sys.stderr.write(f"drain: {error.code().name}: {error.details()}\n")
            return 0 if error.code() is grpc.StatusCode.UNAVAILABLE else 1
    sys.stderr.write(f"drained, {left} calls left\n" if left else "drained\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
