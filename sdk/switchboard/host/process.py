"""The host's process: one stream to the sidecar, assignments in, calls served, a clean end."""

import asyncio
import contextlib
import logging
import os
import platform
import sys
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from google.protobuf.json_format import Parse

from switchboard.connection import UNIX, Connection
from switchboard.credentials import NOTHING, Credentials
from switchboard.host.deployment import Deployment, HostSettings
from switchboard.host.load import HostLoad
from switchboard.host.serving import Ended, Serving
from switchboard_wire import names
from switchboard_wire.deadlines import Deadlines
from switchboard_wire.errors import ErrorValue, name_of
from switchboard_wire.limits import PROTOCOL
from switchboard_wire.peer import Peer
from switchboard_wire.sockets import SocketPeer
from switchboard_wire.v1 import frames_pb2 as pb

log = logging.getLogger("switchboard.host")

# Handlers that block run in threads; the sidecar lets in no more than the AgentNode's concurrency
MAX_THREADS = 256
# What in-flight messages are given at SIGTERM when the assignments say nothing
DRAIN_S = 30.0
# Calls that cross our GOAWAY are served, too: a sidecar without a processor for a while reads it late
QUIET_S = 0.5
# Each word on the agents names all of them, and every gateway hears it: a thousand that load are not told one by one
GATHER_S = 0.05
# What a host takes at once that a gateway's session has brought, and beyond that; then it refuses
ATTACHED_CONCURRENCY = 64
ATTACHED_QUEUE = 192
ENV_MODULES = "SWITCHBOARD_MODULES"  # comma separated
ENV_LOG_CALLS = "SWITCHBOARD_LOG_CALLS"  # 1: a log line per call, for development


def read_settings(environ: Mapping[str, str]) -> HostSettings:
    """Settings from the environment: SWITCHBOARD_CODE, SWITCHBOARD_MODULES, SWITCHBOARD_LOG_CALLS."""
    modules = tuple(name.strip() for name in environ.get(ENV_MODULES, "").split(",") if name.strip())
    code = Path(environ.get(names.ENV_CODE, names.CODE_FOLDER)).resolve()
    return HostSettings(code, modules, environ.get(ENV_LOG_CALLS) == "1")


class NotLoaded(Exception):
    """The code has an error, which the log has told, and was to be loaded as a whole before the host joins."""


class Host:
    """The process's events and its work on assignments.

    address: unix:PATH of a sidecar, which assigns agents; or host:port of a gateway, through which the registered
    agents of the settings' modules are reachable while this process runs.
    """

    def __init__(self, address: str, settings: HostSettings) -> None:
        load = HostLoad(time.monotonic)
        self._is_attached = not address.startswith(UNIX)
        method = names.SESSION_METHOD if self._is_attached else names.ATTACH_SERVICE
        credentials = Credentials.resolve({}) if self._is_attached else NOTHING
        self._connection = Connection(address, method, self, self._greeting, load=load, credentials=credentials)
        # A sidecar keeps the AgentNode's limits; before a gateway's session nobody but we do
        most = ATTACHED_CONCURRENCY + ATTACHED_QUEUE if self._is_attached else None
        self._serving = Serving(_log_call if settings.logs_calls else None, most)
        self._pool = ThreadPoolExecutor(MAX_THREADS, thread_name_prefix="handler")
        self._deployment = Deployment(settings, self._connection, Deadlines(), self._pool, self._on_change)
        self._assigned: asyncio.Queue[pb.Assignments] = asyncio.Queue()
        self._drain_s = DRAIN_S
        self._has_more = False
        self._gathering: asyncio.TimerHandle | None = None
        if self._is_attached:
            self._assigned.put_nowait(pb.Assignments(dynamic=True))

    # Events of the stream

    def on_open(self, peer: Peer, frame: pb.Frame) -> None:
        self._serving.open(peer, frame)

    def on_control(self, peer: Peer, frame: pb.Frame) -> None:
        if frame.kind == pb.ASSIGN and not self._is_attached:
            self._assigned.put_nowait(frame.assignments)
        elif frame.kind == pb.CLOSE:
            error = ErrorValue.from_wire(frame.error)
            log.error("the gateway refuses", extra={"code": name_of(error.code), "reason": error.message})

    def on_lost(self, peer: Peer) -> None:
        """Its calls were cancelled one by one; the agents stay loaded."""

    # Work

    async def load_first(self, assignments: pb.Assignments) -> None:
        """Load what will be assigned, so that the host joins with its agents ready. Raises NotLoaded."""
        if not await self._deployment.apply(assignments):
            await self._deployment.stop_all()
            raise NotLoaded

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until `stop` is set, then finish what is in flight."""
        loop = asyncio.get_running_loop()
        connecting = asyncio.create_task(self._connection.run())
        deploying = asyncio.create_task(self._deploy())
        waiting = asyncio.create_task(stop.wait())
        begun = None
        try:
            done, _ = await asyncio.wait({connecting, deploying, waiting}, return_when=asyncio.FIRST_COMPLETED)
            for task in done - {waiting}:
                task.result()
            begun = loop.time()
            await self._drain()
        finally:
            for task in (connecting, deploying, waiting):
                task.cancel()
            await asyncio.gather(connecting, deploying, waiting, return_exceptions=True)
            spent_s = loop.time() - begun if begun is not None else 0.0
            await self._deployment.stop_all(self._drain_s - spent_s)
            self._pool.shutdown(wait=False, cancel_futures=True)

    async def _deploy(self) -> None:
        while True:
            delay_s = self._deployment.retry_delay_s()
            try:
                # not wait_for: in Python 3.11 it loses a cancellation that comes together with the result
                async with asyncio.timeout(delay_s):
                    assignments = await self._assigned.get()
            except TimeoutError:
                await self._deployment.retry_failed()
                continue
            while not self._assigned.empty():  # only the newest counts
                assignments = self._assigned.get_nowait()
            log.info("assignments", extra={"generation": assignments.generation, "agents": len(assignments.agents)})
            if assignments.drain_ms:
                self._drain_s = assignments.drain_ms / 1000
            await self._deployment.apply(assignments)
            self._tell_rest()  # whoever reads the line below may call any of them
            ready = self._deployment.ready().keys()
            failed = sorted(self._deployment.agents.keys() - ready)
            log.info("assignments applied", extra={"ready": sorted(ready), "failed": failed})

    async def _drain(self) -> None:
        log.info("stopping", extra={"in_flight": len(self._serving.tasks)})
        if self._connection.peer is not None:
            self._connection.peer.send(pb.Frame(kind=pb.GOAWAY, goaway=pb.Goaway(reason="the host stops")))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._drain_s):
                await self._serve_the_rest()
        if self._serving.tasks:
            log.warning("messages cut off", extra={"in_flight": len(self._serving.tasks)})
        peer = self._connection.peer
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1):  # the last answers are on their way
                while isinstance(peer, SocketPeer) and not peer.lost and not peer.is_flushed:  # noqa: ASYNC110
                    await asyncio.sleep(0.005)

    async def _serve_the_rest(self) -> None:
        """Return when nothing is in flight and nothing has come for a while."""
        loop = asyncio.get_running_loop()
        quiet_since = loop.time()
        while loop.time() - quiet_since < QUIET_S:
            if self._serving.tasks:
                await asyncio.wait(self._serving.tasks)
                quiet_since = loop.time()
            await asyncio.sleep(QUIET_S / 20)

    def _greeting(self) -> list[pb.Frame]:
        hello = pb.Hello(protocol_min=PROTOCOL, protocol_max=PROTOCOL, hosted=self._deployment.hosted())
        if self._is_attached:
            hello.instance = platform.node()
            hello.capacity.concurrency, hello.capacity.queue = ATTACHED_CONCURRENCY, ATTACHED_QUEUE
        return [pb.Frame(kind=pb.HELLO, hello=hello)]

    def _on_change(self) -> None:
        """Give calls to the agents that are ready, and tell the sidecar: at once, and what follows soon together."""
        self._serving.set_agents(self._deployment.ready())
        self._has_more = True
        if self._gathering is None:
            self._tell_rest()

    def _tell_rest(self) -> None:
        if not self._has_more:
            return
        self._has_more = False
        if self._gathering is not None:
            self._gathering.cancel()
        self._gathering = asyncio.get_running_loop().call_later(GATHER_S, self._end_gathering)
        if self._connection.peer is not None:
            self._connection.peer.send(pb.Frame(kind=pb.HOSTED, hosted=self._deployment.hosted()))

    def _end_gathering(self) -> None:
        self._gathering = None
        self._tell_rest()


def _log_call(ended: Ended) -> None:
    error = ended.error
    fields = {
        "agent": ended.agent,
        "key": ended.opened.target.key,
        "sender": ended.opened.source.type,
        "principal": ended.opened.principal,
        "ms": round(ended.seconds * 1000, 1),
        "code": name_of(error.code) if error else "OK",
        "error": error.message if error else "",
    }
    log.info("call", extra=fields)


async def run_host(stop: asyncio.Event, gateway: str = "") -> None:
    """Run the host as the environment says until `stop` is set. gateway: host:port to attach to, without a sidecar."""
    settings = read_settings(os.environ)
    sys.path.insert(0, str(settings.code))
    address = gateway or f"{UNIX}{os.environ.get(names.ENV_SOCKET, names.SOCKET_PATH)}"
    log.info("host starts", extra={"address": address, "code": str(settings.code)})
    host = Host(address, settings)
    if path := os.environ.get(names.ENV_LOAD_FIRST):
        if not await _hears_a_word(stop):
            return
        text = await asyncio.to_thread(Path(path).read_text)
        await host.load_first(Parse(text, pb.Assignments()))
    await host.run(stop)


async def _hears_a_word(stop: asyncio.Event) -> bool:
    """Wait for a line on stdin; False when its end comes, or the stop."""
    loop = asyncio.get_running_loop()
    said = asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), said.set)
    waiting = [asyncio.create_task(event.wait()) for event in (said, stop)]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        loop.remove_reader(sys.stdin.fileno())
        for task in waiting:
            task.cancel()
    return not stop.is_set() and os.read(sys.stdin.fileno(), 1) != b""
