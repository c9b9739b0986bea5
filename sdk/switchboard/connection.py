"""One stream to one address, dialled again for as long as it is wanted."""

import asyncio
import logging
import random
from collections.abc import Callable
from typing import Any, cast

from grpc import aio

from switchboard_wire.errors import failure
from switchboard_wire.peer import Peer, PeerEvents
from switchboard_wire.streams import open_channel, run_stream
from switchboard_wire.v1 import frames_pb2 as pb

log = logging.getLogger("switchboard.connection")

# The first retry comes soon, because a restart is the usual reason; the last ones seldom, for the other end's sake
FIRST_BACKOFF_S = 0.05
MAX_BACKOFF_S = 2.0
# A call waits so long for a stream, within its own time: a gateway that restarts is back sooner
CONNECT_WAIT_S = 10.0

Greeting = Callable[[], list[pb.Frame]]


class Connection:
    """Keeps a stream to `address` while `run` runs, with full-jitter back-off between tries.

    peer: the living end of it, or None. greeting: the frames with which each new stream begins.
    wait_s: how long `wait` waits at most.
    """

    def __init__(
        self,
        address: str,
        method: str,
        events: PeerEvents,
        greeting: Greeting | None = None,
        wait_s: float = CONNECT_WAIT_S,
    ) -> None:
        self.address = address
        self._wait_s = wait_s
        self.peer: Peer | None = None
        self._method = method
        self._events = events
        self._greeting = greeting
        self._changed = asyncio.Event()
        self._reason = "not tried yet"

    async def run(self) -> None:
        """Dial, pump, dial again, until cancelled."""
        backoff_s = FIRST_BACKOFF_S
        while True:
            if await self._dial():
                backoff_s = FIRST_BACKOFF_S
            await asyncio.sleep(random.random() * backoff_s)
            backoff_s = min(2 * backoff_s, MAX_BACKOFF_S)

    async def _dial(self) -> bool:
        """One stream from its beginning to its end; False when there was none."""
        # A channel of its own: grpc would keep its back-off of seconds from one try to the next
        async with open_channel(self.address) as channel:
            stream: Any = cast(Any, channel).stream_stream(self._method)()
            try:
                await stream.wait_for_connection()
            except aio.AioRpcError as error:
                self._reason = str(error.details())
                return False
            peer = Peer(self._events, dialled=True, label=self.address)
            for frame in self._greeting() if self._greeting else []:
                peer.send(frame)
            self.peer = peer
            self._changed.set()
            log.debug("connected", extra={"address": self.address})
            try:
                self._reason = await run_stream(peer, stream)
                log.info("connection lost", extra={"address": self.address, "reason": self._reason})
            finally:
                self.peer = None
                self._changed.clear()
        return True

    async def wait(self, timeout_s: float | None = None) -> Peer:
        """The living peer, as soon as there is one. Raises NodeUnavailable (delivered=NO)."""
        try:
            async with asyncio.timeout(self._wait_s if timeout_s is None else min(timeout_s, self._wait_s)):
                while self.peer is None or self.peer.lost:
                    await self._changed.wait()
                    await asyncio.sleep(0)  # a lost peer is put away on one of the loop's next turns
        except TimeoutError:
            message = f"{self.address} cannot be reached: {self._reason}"
            raise failure(pb.NODE_UNAVAILABLE, message, retry_after_ms=int(MAX_BACKOFF_S * 1000)) from None
        return self.peer
