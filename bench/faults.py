"""One of two instances is killed, or silently cut off (stopped, its sockets open), under load.

Half of the calls may be repeated (idempotent). `detection`: until the last call that was inside has been told.
`failed`: calls that ended with an error. `lost`: calls that nobody answered, or that were acknowledged although the
handler had not finished. The percentiles are those of answered calls that were under way between the fault and its
detection; `undisturbed` is the second before, in the same run.
"""

import asyncio
import contextlib
import os
import signal
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import uvloop

from bench.load import Measured, Tally, summarize
from bench.loaders.switchboard import reach
from bench.machine import prepare
from bench.options import read_options
from bench.ours import Gateway, Instance, Pod, run_gateway, run_instance
from bench.report import Row, median_of, publish_table, render
from switchboard import Client, DeadlineExceeded, SwitchboardError

AGENT = "record"
IN_FLIGHT = 64
PAYLOAD = 256
CALM_S = 1.0
TIMEOUT_S = 10.0
JOIN_S = 60.0
CALM = "undisturbed"
# The faults, and for how long the load goes on: well beyond what the contract allows until each is seen
WATCH_S = {"killed": 1.0, "cut off": 5.0}


@dataclass(frozen=True, slots=True)
class Ended:
    """One call: when it was made and answered, what it said, whether it may be repeated, how it failed."""

    started: float
    ended: float
    said: bytes
    idempotent: bool
    error: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one round showed."""

    calm: Measured
    meanwhile: Measured
    detection_ms: float
    failed: int
    failed_idempotent: int
    lost: int


@dataclass(frozen=True, slots=True)
class FaultRow(Row):
    """A row with what a fault did. detection_ms: the median; the counts: of all rounds."""

    detection_ms: float = 0.0
    failed: int = 0
    failed_idempotent: int = 0
    lost: int = 0


def judge(calls: Sequence[Ended], fault: float, recorded: frozenset[bytes]) -> Outcome:
    """Reckon a round. fault: when it happened. recorded: what handlers say they have finished."""
    failed = [call for call in calls if call.error]
    seen = max((call.ended for call in failed if call.started <= fault), default=fault)
    answered = [call for call in calls if not call.error]
    before = [call for call in answered if fault - CALM_S <= call.started and call.ended <= fault]
    during = [call for call in answered if call.started <= max(seen, fault + 0.05) and call.ended >= fault]
    unanswered = sum(call.error == DeadlineExceeded.__name__ for call in failed)
    untrue = sum(call.said not in recorded for call in answered)
    span = max((call.ended for call in during), default=fault) - fault
    return Outcome(
        calm=_figures(before, CALM_S),
        meanwhile=_figures(during, span or 1.0),
        detection_ms=(seen - fault) * 1000,
        failed=len(failed),
        failed_idempotent=sum(call.idempotent for call in failed),
        lost=unanswered + untrue,
    )


def _figures(calls: Sequence[Ended], seconds: float) -> Measured:
    return summarize(Tally([call.ended - call.started for call in calls], len(calls)), seconds)


async def load(client: Client, calls: list[Ended], stop: asyncio.Event) -> None:
    """Keep IN_FLIGHT calls under way until told to stop, every second of them idempotent."""

    async def worker(number: int) -> None:
        count = 0
        while not stop.is_set():
            count += 1
            said = f"{number}.{count}".encode()
            started, error = time.monotonic(), ""
            try:
                await client.request(AGENT, said.ljust(PAYLOAD), timeout_s=TIMEOUT_S, idempotent=number % 2 == 0)
            except SwitchboardError as failed:
                error = type(failed).__name__
            calls.append(Ended(started, time.monotonic(), said, number % 2 == 0, error))

    await asyncio.gather(*(worker(number) for number in range(IN_FLIGHT)))


def strike(victim: Instance, fault: str) -> float:
    """Do it to both processes; returns when."""
    now = time.monotonic()
    for pid in (victim.sidecar, victim.host):
        os.kill(pid, signal.SIGKILL if fault == "killed" else signal.SIGSTOP)
    return now


async def wait_for_instance(client: Client, name: str) -> None:
    """Wait until an instance of this name answers. Raises TimeoutError."""
    async with asyncio.timeout(JOIN_S):
        while True:
            answers = await asyncio.gather(*(client.request(AGENT, b"join") for _ in range(8)))
            if any(answer.instance == name for answer in answers):
                return


@contextlib.asynccontextmanager
async def loading(client: Client, calls: list[Ended]) -> AsyncIterator[None]:
    """The load, while the context is open; then its last calls end."""
    stop = asyncio.Event()
    running = asyncio.create_task(load(client, calls, stop))
    try:
        yield
    finally:
        stop.set()
        await running


def read_record(record: Path) -> frozenset[bytes]:
    """The messages that handlers have finished."""
    return frozenset(record.read_bytes().split())


async def measure(gateway: Gateway, record: Path, fault: str, name: str) -> Outcome:
    """One round with a victim of its own."""
    calls: list[Ended] = []
    pod = Pod(name, agents=("record:record",), environment={"BENCH_RECORD": str(record)})
    async with Client(gateway.address) as client:
        with run_instance(gateway.links_port, pod) as victim:
            await wait_for_instance(client, name)
            try:
                async with loading(client, calls):
                    await asyncio.sleep(2 * CALM_S)
                    at = strike(victim, fault)
                    await asyncio.sleep(WATCH_S[fault])
            finally:
                for pid in (victim.sidecar, victim.host):  # what is stopped cannot end when asked
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
    return judge(calls, at, await asyncio.to_thread(read_record, record))


def rows_of(fault: str, outcomes: Sequence[Outcome]) -> list[FaultRow]:
    """The second before, then the time until the fault was seen."""
    calm, meanwhile = (median_of([getattr(one, part) for one in outcomes]) for part in ("calm", "meanwhile"))
    base = FaultRow(f"{fault}: {CALM}", IN_FLIGHT, PAYLOAD, calm.per_s, calm.p50_ms, calm.p90_ms, calm.p99_ms, 0.0)
    figures = {key: value for key, value in asdict(meanwhile).items() if key not in ("errors", "failures")}
    return [
        base,
        replace(
            base,
            **figures,
            name=fault,
            ratio_to=base.name,
            ratio=meanwhile.per_s / calm.per_s,
            detection_ms=statistics.median(one.detection_ms for one in outcomes),
            failed=sum(one.failed for one in outcomes),
            failed_idempotent=sum(one.failed_idempotent for one in outcomes),
            lost=sum(one.lost for one in outcomes),
        ),
    ]


def render_faults(rows: Sequence[FaultRow], rounds: int) -> str:
    """The percentiles, then the counts."""
    lines = [
        "| fault | rounds | detection ms | failed | of them idempotent | lost |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        if row.ratio_to:
            counts = f"{row.failed} | {row.failed_idempotent} | {row.lost}"
            lines.append(f"| {row.name} | {rounds} | {row.detection_ms:.0f} | {counts} |")
    return render(rows) + "\n\n" + "\n".join(lines)


async def reach_agent(address: str) -> None:
    async with Client(address) as client:
        await reach(client, AGENT)


def main() -> None:
    options = read_options(__doc__, seconds=CALM_S)
    outcomes: dict[str, list[Outcome]] = {fault: [] for fault in WATCH_S}
    with tempfile.TemporaryDirectory() as folder, run_gateway() as gateway:
        record = Path(folder, "record")
        pod = Pod("stays", agents=("record:record",), environment={"BENCH_RECORD": str(record)})
        with run_instance(gateway.links_port, pod):
            uvloop.run(reach_agent(gateway.address))
            machine = prepare(halts=options.halts)
            for number in range(options.rounds):
                print(f"round {number + 1} of {options.rounds}", flush=True)
                for fault, found in outcomes.items():
                    name = f"victim-{fault.replace(' ', '-')}-{number}"
                    found.append(uvloop.run(measure(gateway, record, fault, name)))
    rows = [row for fault, found in outcomes.items() for row in rows_of(fault, found)]
    publish_table("faults", rows, render_faults(rows, options.rounds), machine)


if __name__ == "__main__":
    main()
