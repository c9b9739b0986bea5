"""The Registry service (port 7420): one stream from every sidecar, heartbeats in and assignments out; one from every
gateway, the calls that it has for each AgentNode."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import grpc
import grpc.aio

from switchboard_operator import metrics
from switchboard_operator.demand import Demands
from switchboard_operator.registry import Pool, Registry, fold, introduce
from switchboard_wire.internal_v1.registry_pb2 import Directive, Registered, Report
from switchboard_wire.names import REGISTRY_METHOD, REGISTRY_QUERY_METHOD
from switchboard_wire.v1.frames_pb2 import VALIDATION_FAILED, Assignments, Error, Hello
from switchboard_wire.v1.instances_pb2 import InstanceList, InstanceQuery

log = logging.getLogger(__name__)

Context: TypeAlias = "grpc.aio.ServicerContext[Report, Directive]"

OnHeld = Callable[[Pool], None]

DEFAULT_INTERVAL_MS: Final = 2000
# A sidecar opens one stream; beyond this many something is wrong, and memory must stay bounded
MAX_STREAMS: Final = 20000
# Reports are small: a hello with every agent of a node is below this
MAX_REPORT_BYTES: Final = 1 << 20
FIRST_REPORT_S: Final = 10.0
# Who does not read for so long is cut off in the middle of a directive
LAST_WRITE_S: Final = 5.0

_OPTIONS: Final = (
    ("grpc.max_receive_message_length", MAX_REPORT_BYTES),
    ("grpc.keepalive_time_ms", 20000),
    ("grpc.keepalive_timeout_ms", 5000),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 5000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.server_handshake_timeout_ms", 5000),
    ("grpc.so_reuseport", 0),
)


@dataclass(slots=True)
class Board:
    """The assignments of every AgentNode, as they have been read from or written to its ConfigMap."""

    _current: dict[Pool, tuple[str, Assignments]] = field(default_factory=dict)
    _readers: dict[Pool, set[asyncio.Event]] = field(default_factory=dict)
    _intervals: dict[Pool, int] = field(default_factory=dict)

    def publish(self, pool: Pool, uid: str, assignments: Assignments) -> None:
        """Show assignments of the AgentNode with this UID; older ones of the same are not shown."""
        former = self._current.get(pool)
        if former is not None and former[0] == uid and former[1].generation >= assignments.generation:
            return
        self._current[pool] = (uid, assignments)
        for reader in self._readers.get(pool, ()):
            reader.set()

    def remove(self, pool: Pool, uid: str) -> None:
        """The AgentNode with this UID is gone."""
        if pool in self._current and self._current[pool][0] == uid:
            del self._current[pool]

    def read(self, pool: Pool) -> Assignments | None:
        """What is shown now."""
        entry = self._current.get(pool)
        return entry[1] if entry else None

    def set_interval(self, pool: Pool, interval_ms: int | None) -> None:
        """How often the sidecars of an AgentNode are to speak; None when it is gone."""
        if interval_ms is None:
            self._intervals.pop(pool, None)
        elif self.interval_ms(pool) != interval_ms:
            self._intervals[pool] = interval_ms
            for reader in self._readers.get(pool, ()):
                reader.set()

    def interval_ms(self, pool: Pool) -> int:
        """How often the sidecars of an AgentNode are to speak."""
        return self._intervals.get(pool, DEFAULT_INTERVAL_MS)

    @contextlib.contextmanager
    def reader(self, pool: Pool) -> Any:
        """An event that is set whenever there is something new to read."""
        event = asyncio.Event()
        event.set()
        self._readers.setdefault(pool, set()).add(event)
        try:
            yield event
        finally:
            self._readers[pool].discard(event)
            if not self._readers[pool]:
                del self._readers[pool]


class Directives:
    """What is said on a stream, by several tasks in turn.

    grpc.aio cannot finish a call while a write is under way, nor begin another one: it fails, and the stream stays open
    with nobody at this end. So whoever writes is ended between two writes.
    """

    def __init__(self, context: Context) -> None:
        self._context, self._turn = context, asyncio.Lock()

    @property
    def peer(self) -> str:
        """Who listens, as grpc says it."""
        return str(self._context.peer())

    async def write(self, directive: Directive) -> None:
        """Say it; what grpc.aio raises is raised."""
        async with self._turn:
            await self._context.write(directive)

    async def end(self, writer: "asyncio.Task[None]") -> None:
        """End a task that writes here, once no write is under way."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAST_WRITE_S), self._turn:
                writer.cancel()
        writer.cancel()
        with contextlib.suppress(asyncio.CancelledError, grpc.aio.UsageError, grpc.aio.BaseError):
            await writer


@dataclass(frozen=True, slots=True)
class Answering:
    """Who answers the two methods."""

    connect: Callable[[AsyncIterator[Report], Directives], Coroutine[Any, Any, None]]
    query: Callable[[InstanceQuery, Any], Awaitable[InstanceList]]


class RegistryService:
    """Answers `Registry/Connect`."""

    def __init__(self, registry: Registry, board: Board, demands: Demands, on_held: OnHeld, identity: str) -> None:
        """on_held: told of every AgentNode for which calls wait, with each report."""
        self._registry, self._board, self._identity = registry, board, identity
        self._demands, self._on_held = demands, on_held
        self._held_told: set[Pool] = set()

    async def connect(self, reports: AsyncIterator[Report], directives: Directives) -> None:
        """Take an instance's reports until it goes; tell it every change of its assignments."""
        try:
            async with asyncio.timeout(FIRST_REPORT_S):
                first = await anext(reports)
        except (StopAsyncIteration, TimeoutError):
            return
        if problem := _fault_of(first.hello if first.HasField("hello") else None):
            await directives.write(Directive(refused=Error(code=VALIDATION_FAILED, message=problem)))
            return
        if first.hello.gateway:
            await self._serve_gateway(reports, directives)
            return
        pool = (first.hello.namespace, first.hello.node)
        self._registry.put(introduce(first.hello, _now()))
        with metrics.STREAMS.track_inprogress(), self._board.reader(pool) as news:
            teller = asyncio.create_task(self._tell(pool, news, directives))
            try:
                await self._hear(first.hello.pod_uid, reports)
            finally:
                await directives.end(teller)

    async def _serve_gateway(self, reports: AsyncIterator[Report], directives: Directives) -> None:
        registered = Registered(operator=self._identity, heartbeat_interval_ms=DEFAULT_INTERVAL_MS)
        await directives.write(Directive(registered=registered))
        voice = self._demands.join(_now())
        try:
            with metrics.GATEWAYS.track_inprogress():
                async for report in reports:
                    if report.HasField("demand"):
                        for pool in self._demands.hear(voice, report.demand, _now()):
                            self._on_held(pool)
                        self._count_held()
        finally:
            self._demands.leave(voice)
            self._count_held()

    def _count_held(self) -> None:
        held = self._demands.held(_now())
        for gone in self._held_told - held.keys():
            metrics.HELD.remove(*gone)
        for pool, count in held.items():
            metrics.HELD.labels(*pool).set(count)
        self._held_told = set(held)

    async def _hear(self, pod_uid: str, reports: AsyncIterator[Report]) -> None:
        async for report in reports:
            if report.HasField("hello") and not _fault_of(report.hello) and report.hello.pod_uid == pod_uid:
                self._registry.put(introduce(report.hello, _now()))
            if report.HasField("heartbeat"):
                metrics.HEARTBEATS.inc()
                record = self._registry.get(pod_uid)
                if record is None:  # forgotten while it was silent: its sidecar comes back and says everything anew
                    return
                concurrency = self._registry.concurrency_of(record)
                self._registry.put(fold(record, report.heartbeat, _now(), concurrency))

    async def _tell(self, pool: Pool, news: asyncio.Event, directives: Directives) -> None:
        interval, generation = 0, -1
        while True:
            await news.wait()
            news.clear()
            if (wanted := self._board.interval_ms(pool)) != interval:
                interval = wanted
                registered = Registered(operator=self._identity, heartbeat_interval_ms=interval)
                await directives.write(Directive(registered=registered))
            assignments = self._board.read(pool)
            if assignments is not None and assignments.generation != generation:
                generation = assignments.generation
                await directives.write(Directive(assignments=assignments))


@contextlib.asynccontextmanager
async def serve_registry(
    answering: Answering, port: int, host: str = "[::]", credentials: grpc.ServerCredentials | None = None
) -> AsyncIterator[int]:
    """Serve while the context is open; yields the port bound. credentials: of TLS; None: plain text."""
    server = grpc.aio.server(options=_OPTIONS, maximum_concurrent_rpcs=MAX_STREAMS)
    name, _, method = REGISTRY_METHOD.removeprefix("/").partition("/")

    async def connect(reports: AsyncIterator[Report], context: Context) -> None:
        await answering.connect(reports, Directives(context))

    methods = {
        method: grpc.stream_stream_rpc_method_handler(connect, Report.FromString, Directive.SerializeToString),
        REGISTRY_QUERY_METHOD.rpartition("/")[2]: grpc.unary_unary_rpc_method_handler(
            answering.query, InstanceQuery.FromString, InstanceList.SerializeToString
        ),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, methods),))
    address = f"{host}:{port}"
    bound = server.add_secure_port(address, credentials) if credentials else server.add_insecure_port(address)
    await server.start()
    try:
        yield bound
    finally:
        # Streams never end by themselves; the sidecars reconnect to whoever is there
        await server.stop(0.5)


def _fault_of(hello: Hello | None) -> str:
    """Why a first report is not taken; empty when it is."""
    if hello is None:
        return "the first report must carry hello"
    if hello.gateway:
        return "hello.gateway is too long" if len(hello.gateway) > 253 else ""
    missing = [name for name in ("namespace", "node", "instance", "pod_uid") if not getattr(hello, name)]
    if missing:
        return f"hello.{missing[0]} is empty"
    long = [name for name in ("namespace", "node", "instance", "pod_uid") if len(getattr(hello, name)) > 253]
    return f"hello.{long[0]} is too long" if long else ""


def _now() -> float:
    return asyncio.get_running_loop().time()
