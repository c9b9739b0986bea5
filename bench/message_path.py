"""SDK → gateway → sidecar → host as separate processes, beside one bare unary gRPC call, in interleaved rounds.

python -m bench.message_path [--rounds 5] [--seconds 2] [--in-flight 1,32,128] [--payload 256]
"""

import argparse
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator

import uvloop
from grpc import aio

from bench.direct_server import METHOD
from bench.load import Call, Measured, closed_loop
from bench.processes import Running, direct_path, switchboard_path, wait_for_port
from bench.report import Row, median_of, publish
from switchboard import Client

SWITCHBOARD, DIRECT = "switchboard, 4 processes", "bare unary gRPC"
READY_S = 60.0


@contextlib.asynccontextmanager
async def switchboard_call(running: Running, payload: bytes) -> AsyncIterator[Call]:
    async with Client(running.address) as client:
        await client.request("echo", payload, timeout_s=READY_S)  # held until the host is there

        async def call() -> object:
            return await client.request("echo", payload)

        yield call


@contextlib.asynccontextmanager
async def direct_call(running: Running, payload: bytes) -> AsyncIterator[Call]:
    async with aio.insecure_channel(running.address) as channel:
        method = channel.unary_unary(METHOD)

        async def call() -> object:
            return await method(payload)

        yield call


async def measure(arguments: argparse.Namespace, paths: dict[str, Running]) -> list[Row]:
    payload = b"x" * arguments.payload
    found: dict[tuple[str, int], list[Measured]] = defaultdict(list)
    cpu: dict[tuple[str, int], float] = defaultdict(float)
    async with (
        switchboard_call(paths[SWITCHBOARD], payload) as through,
        direct_call(paths[DIRECT], payload) as straight,
    ):
        for number in range(arguments.rounds):
            print(f"round {number + 1} of {arguments.rounds}", flush=True)
            for in_flight in arguments.in_flight:
                for name, call in ((SWITCHBOARD, through), (DIRECT, straight)):
                    before = sum(paths[name].cpu_s().values())
                    found[name, in_flight].append(await closed_loop(call, in_flight, arguments.seconds))
                    cpu[name, in_flight] += sum(paths[name].cpu_s().values()) - before
    rows = []
    for (name, in_flight), rounds in sorted(found.items(), key=lambda item: (item[0][1], item[0][0])):
        middle, base = median_of(rounds), median_of(found[DIRECT, in_flight])
        ratio_to, ratio = (DIRECT, middle.per_s / base.per_s) if name != DIRECT else ("", 1.0)
        figures = (middle.per_s, middle.p50_ms, middle.p90_ms, middle.p99_ms)
        rows.append(Row(name, in_flight, arguments.payload, *figures, cpu[name, in_flight], ratio_to, ratio))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement")
    parser.add_argument("--in-flight", type=lambda text: [int(part) for part in text.split(",")], default=[1, 32, 128])
    parser.add_argument("--payload", type=int, default=256, help="bytes, each way")
    arguments = parser.parse_args()
    with switchboard_path() as through, direct_path() as straight:
        wait_for_port(through.address)
        wait_for_port(straight.address)
        rows = uvloop.run(measure(arguments, {SWITCHBOARD: through, DIRECT: straight}))
    publish("message_path", rows)


if __name__ == "__main__":
    main()
