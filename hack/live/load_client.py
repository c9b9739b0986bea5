"""`python -m live.load_client`: an open loop of calls in a process of its own, so that nothing else starves it.

Calls are sent at the planned times whether or not earlier ones were answered, over several sessions in turn. One line
for each call that has ended goes to standard output; closing standard input ends the sending, and when all calls under
way have ended a last line in JSON tells what was sent. Each payload is another number, and its answer must repeat it.
"""

import argparse
import asyncio
import contextlib
import json
import os
import sys
import time
from collections import Counter
from dataclasses import dataclass, field

from live.outcomes import OK, WRONG, Outcome
from switchboard import CallOptions, Client, SwitchboardError
from switchboard_wire.peer import Peer
from switchboard_wire.v1 import frames_pb2 as pb

# Calls are due in bunches of what falls into this time: a timer for each would cost more than the call
TICK_S = 0.004
# Different words of errors that are told at the end
MESSAGES_KEPT = 20


class Witness:
    """Counts the calls of this process that were ended twice, which a session otherwise passes over."""

    def __init__(self) -> None:
        self.ended_again = 0
        self._ended: dict[Peer, set[int]] = {}

    def watch(self) -> None:
        """See every frame that any session of this process is handed from now on."""
        dispatch = Peer.dispatch

        def witnessed(peer: Peer, frame: pb.Frame) -> None:
            if frame.kind == pb.CLOSE:
                ended = self._ended.setdefault(peer, set())
                self.ended_again += frame.call in ended
                ended.add(frame.call)
            dispatch(peer, frame)

        Peer.dispatch = witnessed  # type: ignore[method-assign, assignment]


@dataclass(slots=True)
class Sender:
    """Sends the calls of one run."""

    clients: list[Client]
    options: argparse.Namespace
    sent: int = 0
    words: Counter[str] = field(default_factory=Counter)
    under_way: set[asyncio.Task[None]] = field(default_factory=set)

    async def run(self, stopped: asyncio.Event) -> None:
        """Send until `stopped`, then wait for what is under way."""
        interval_s, begun = 1 / self.options.rate, time.monotonic()
        while not stopped.is_set():
            due = int((time.monotonic() - begun) * self.options.rate) + 1
            while self.sent < due:
                self._begin(self.sent, begun + self.sent * interval_s)
            await asyncio.sleep(TICK_S)
        while self.under_way:
            await asyncio.wait(self.under_way)

    def _begin(self, number: int, planned_s: float) -> None:
        self.sent += 1
        task = asyncio.create_task(self._call(number, planned_s))
        self.under_way.add(task)
        task.add_done_callback(self.under_way.discard)

    async def _call(self, number: int, planned_s: float) -> None:
        client = self.clients[number % len(self.clients)]
        payload, sent_s = str(number), time.monotonic()
        code, delivered, instance = OK, "", ""
        try:
            answer = await client.request(self.options.target, payload, **self._call_options(number))
            instance = answer.instance
            if answer.text != payload:
                code = WRONG
        except SwitchboardError as error:
            code = error.code
            self._keep(error.message)
            delivered = pb.Delivered.Name(pb.Delivered.ValueType(error.error.delivered)).removeprefix("DELIVERED_")
        ended_s = time.monotonic()
        sys.stdout.write(Outcome(sent_s, ended_s - sent_s, sent_s - planned_s, code, delivered, instance).to_line())

    def _keep(self, message: str) -> None:
        if message in self.words or len(self.words) < MESSAGES_KEPT:
            self.words[message] += 1

    def _call_options(self, number: int) -> CallOptions:
        given = self.options
        options = CallOptions(namespace=given.namespace, timeout_s=given.timeout)
        if given.idempotent:
            options["idempotent"] = True
        if given.strategy:
            options["strategy"] = given.strategy
        if given.keys:
            options["key"] = f"key-{number % given.keys}"
        return options


async def work(options: argparse.Namespace) -> None:
    witness = Witness()
    witness.watch()
    loop, stopped = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), lambda: None if os.read(sys.stdin.fileno(), 1024) else stopped.set())
    async with contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(Client(options.address)) for _ in range(options.sessions)]
        sender = Sender(clients, options)
        flushing = asyncio.create_task(flush())
        await sender.run(stopped)
        flushing.cancel()
        loop.remove_reader(sys.stdin.fileno())
    told = {"sent": sender.sent, "ended_again": witness.ended_again, "words": dict(sender.words.most_common())}
    print(json.dumps(told), flush=True)


async def flush() -> None:
    """Let readers of the output see it soon."""
    while True:
        await asyncio.sleep(0.2)
        sys.stdout.flush()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m live.load_client", description=__doc__)
    parser.add_argument("--address", required=True, help="host:port of the gateway's gRPC port")
    parser.add_argument("--namespace", required=True)
    parser.add_argument("--target", required=True)
    parser.add_argument("--rate", type=float, default=1000, help="calls a second")
    parser.add_argument("--sessions", type=int, default=8)
    parser.add_argument("--timeout", type=float, default=30, help="seconds for each call")
    parser.add_argument("--idempotent", action="store_true")
    parser.add_argument("--strategy", default="")
    parser.add_argument("--keys", type=int, default=0, help="so many different keys in turn")
    asyncio.run(work(parser.parse_args()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
