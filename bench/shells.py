"""Unary gRPC and REST through one gateway process, load from h2load, beside bare servers in Python as their limit.

A client without the SDK pays for a gRPC or HTTP call of Python on every message; a bare server that only echoes shows
how much of that cost is not ours.
"""

import contextlib
import json
import struct
from collections.abc import Callable, Iterator

import uvloop

from bench.h2load import Request, load
from bench.load import Measured, Task
from bench.loaders.direct_server import ECHO
from bench.loaders.switchboard import reach
from bench.machine import prepare
from bench.options import read_options
from bench.ours import Pod, run_gateway, run_instance
from bench.paths import Path, Sample, take_turns
from bench.processes import free_port, process, python, wait_for_port
from bench.report import Row, compare, publish
from switchboard import Client
from switchboard_wire import names
from switchboard_wire.v1 import gateway_pb2 as api

BARE_GRPC, BARE_HTTP, GRPC, REST = "bare grpc.aio", "bare aiohttp", "unary gRPC", "REST"
CONNECTIONS = 16
IN_FLIGHT = (1, 64)
PAYLOAD = 256
GRPC_HEADERS = ("content-type: application/grpc", "te: trailers")
JSON_HEADERS = ("content-type: application/json",)


def framed(message: bytes) -> bytes:
    """A message as gRPC puts it into an HTTP/2 body."""
    return struct.pack("!BI", 0, len(message)) + message


def grpc_body(payload: int) -> bytes:
    """A request to the agent `echo`."""
    message = api.Message(data=b"x" * payload)
    message.open.target.type = "echo"
    return framed(message.SerializeToString())


def path_of(name: str, pids: dict[str, int], request: Callable[[int], Request]) -> Path:
    """A path that h2load drives. request: of a payload's size."""

    def measure(task: Task) -> Measured:
        return load(request(task.payload), task, CONNECTIONS)

    return Path(name, pids, measure)


@contextlib.contextmanager
def gateway_paths() -> Iterator[list[Path]]:
    """gRPC and REST of the same gateway."""
    with run_gateway() as gateway, run_instance(gateway.links_port, Pod()) as instance:
        uvloop.run(_reach(gateway.address))
        pids = {"gateway": gateway.pid, "sidecar": instance.sidecar, "host": instance.host}
        grpc_url = f"http://{gateway.address}{names.REQUEST_METHOD}"
        rest_url = f"http://127.0.0.1:{gateway.http_port}/api/v1/agents/echo/execute"
        yield [
            path_of(GRPC, pids, lambda size: Request(grpc_url, grpc_body(size), GRPC_HEADERS, size)),
            path_of(REST, pids, lambda size: Request(rest_url, json_body(size), JSON_HEADERS, size, http1=True)),
        ]


async def _reach(address: str) -> None:
    async with Client(address) as client:
        await reach(client)


def json_body(size: int) -> bytes:
    return json.dumps({"input": "x" * size}).encode()


@contextlib.contextmanager
def bare_paths() -> Iterator[list[Path]]:
    """The two servers that only echo."""
    grpc_port, http_port = free_port(), free_port()
    with (
        process(python("bench.loaders.direct_server", str(grpc_port))) as grpc_pid,
        process(python("bench.loaders.http_server", str(http_port))) as http_pid,
    ):
        for port in (grpc_port, http_port):
            wait_for_port(port)
        grpc_url, http_url = f"http://127.0.0.1:{grpc_port}{ECHO}", f"http://127.0.0.1:{http_port}/"
        yield [
            path_of(
                BARE_GRPC, {"server": grpc_pid}, lambda size: Request(grpc_url, framed(b"x" * size), GRPC_HEADERS, size)
            ),
            path_of(
                BARE_HTTP,
                {"server": http_pid},
                lambda size: Request(http_url, json_body(size), JSON_HEADERS, size, http1=True),
            ),
        ]


def rows_of(found: dict[tuple[str, Task], list[Sample]]) -> list[Row]:
    """Each shell compared with its own bare server."""
    rows: list[Row] = []
    for ours, bare in ((GRPC, BARE_GRPC), (REST, BARE_HTTP)):
        rows += compare({key: samples for key, samples in found.items() if key[0] in (ours, bare)}, ours)
    return rows


def main() -> None:
    options = read_options(__doc__, seconds=1.0, in_flight=IN_FLIGHT, payloads=(PAYLOAD,))
    with contextlib.ExitStack() as stack:
        paths = [*stack.enter_context(gateway_paths()), *stack.enter_context(bare_paths())]
        machine = prepare(halts=options.halts)
        publish("shells", rows_of(take_turns(paths, options.tasks(), options.rounds)), machine)


if __name__ == "__main__":
    main()
