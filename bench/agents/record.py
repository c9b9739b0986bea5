"""The agent of bench.faults: it works for a while, writes down the message and answers with it."""

import asyncio
import os

from switchboard import agent

WORK_S = 0.02  # so that calls are inside when their instance is lost


@agent
async def record(data: bytes) -> bytes:
    await asyncio.sleep(WORK_S)
    file = os.open(os.environ["BENCH_RECORD"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(file, data.strip() + b"\n")  # one write: whole or not at all
    finally:
        os.close(file)
    return data
