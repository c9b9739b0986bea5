"""kopf, embedded: its watches fill the indexes and poke the queue. The framework writes nothing.

kopf has a thread and an event loop of its own, because it cancels every task of its loop when it ends; and a supervisor
restarts it, because it ends when an API server answers 5xx or 403 for long.
"""

import asyncio
import contextlib
import logging
import random
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any, Final, Protocol, TypeVar

import kopf

from switchboard_operator import metrics
from switchboard_operator.ending import run_kopf
from switchboard_operator.executing import Later
from switchboard_operator.forgetting import NoEssence, NoProgress
from switchboard_operator.indexing import CHILDREN, INDEXES, PODS, SLICES, Keys, Part
from switchboard_operator.objects import Pod, Resource, read_meta, read_pod, read_resource, read_zones
from switchboard_operator.snapshot import Indexes
from switchboard_operator.toggling import calm_toggles
from switchboard_runtime.process import loop_factory
from switchboard_wire import names

log = logging.getLogger(__name__)

T = TypeVar("T")

# A look at the indexes takes microseconds; kopf's loop may be busy with a listing
LOOK_TIMEOUT_S: Final = 5.0
RESTART_FIRST_S: Final = 1.0
RESTART_LONGEST_S: Final = 30.0
# Between looks whether the definitions of our kinds are there
KINDS_LOOK_S: Final = 2.0


class Listener(Protocol):
    """What is told of every event, in kopf's loop, once the indexes hold everything."""

    def listing_begins(self) -> None:
        """The indexes are empty and fill: no look at them is of use before the next event."""
        ...

    def changed(self, kind: str, resource: Resource, gone: bool, indexes: Indexes) -> None:
        """An AgentNode, Agent or child is new, has changed or is gone; the indexes say so already."""
        ...

    def pod_changed(self, pod: Pod, gone: bool) -> None:
        """A pod of an AgentNode is new, has changed or is gone."""
        ...

    def zones_changed(self, endpoints: tuple[str, str], node: str, zones: Mapping[str, str]) -> None:
        """An EndpointSlice of an AgentNode, by namespace and name, tells its pods' zones; none when it is gone."""
        ...


class Backoffs:
    """Pauses for kopf that never run out: it must not exit because the API server is away for long."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng

    def __iter__(self) -> Iterator[float]:
        pause = 0.5
        while True:
            yield self._rng.uniform(pause / 2, pause)
            pause = min(RESTART_LONGEST_S, pause * 2)


class Watches:
    """The watches of one process. `run` blocks; everything else may be called from another thread."""

    def __init__(
        self,
        namespaces: tuple[str, ...],
        listener: Listener,
        rng: random.Random,
        kinds_are_there: Callable[[], Awaitable[bool]],
    ) -> None:
        """kinds_are_there: asked in kopf's loop, whether the API server knows AgentNodes and Agents."""
        self._namespaces, self._listener, self._rng = namespaces, listener, rng
        self._kinds_are_there = kinds_are_there
        self._loop: asyncio.AbstractEventLoop | None = None
        self._indexes: Indexes | None = None
        self._whole: Indexes | None = None  # the same, once every index has had its first whole listing
        self._stopping = False
        self._end: asyncio.Event | None = None  # of this start of kopf; of its loop, so that no thread waits for it
        self.started = threading.Event()

    def run(self) -> None:
        """Watch until `stop`; the target of a thread."""
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            runner.run(self._supervise())

    def stop(self) -> None:
        """End `run` soon."""
        self._stopping = True
        self.restart()

    def restart(self) -> None:
        """Forget everything and list anew."""
        if self._loop is not None and self._end is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended already
                self._loop.call_soon_threadsafe(self._end.set)

    async def look(self, read: Callable[[Indexes], T]) -> T:
        """The value of `read` over the indexes, taken in their own loop; raises Later until they are whole."""
        ours, theirs, indexes = asyncio.get_running_loop(), self._loop, self._whole
        if theirs is None or indexes is None:
            raise Later("the watches are listing", 1.0)
        answer: asyncio.Future[T] = ours.create_future()

        def take() -> None:
            try:
                value = read(indexes)
            except Exception as error:  # noqa: BLE001 - it is raised on the other side
                ours.call_soon_threadsafe(_fail, answer, error)
            else:
                ours.call_soon_threadsafe(_answer, answer, value)

        try:
            theirs.call_soon_threadsafe(take)
            async with asyncio.timeout(LOOK_TIMEOUT_S):
                return await answer
        except (TimeoutError, RuntimeError) as error:  # busy, or its loop has ended
            raise Later("the watches do not answer", 1.0) from error

    async def _supervise(self) -> None:
        self._loop = asyncio.get_running_loop()
        pause = RESTART_FIRST_S
        while not self._stopping:
            began = self._loop.time()
            self._listener.listing_begins()
            self._indexes, self._whole, self._end = None, None, asyncio.Event()
            if self._stopping:  # it was asked for before there was an event to set
                return
            metrics.WATCH_STARTS.inc()
            try:
                await self._await_kinds(self._end)
                await self._watch_once(self._end)
            except Exception as error:
                detailed = log.isEnabledFor(logging.DEBUG)
                log.error("the watches ended, starting them again: %s", error, exc_info=detailed)
            if self._loop.time() - began > RESTART_LONGEST_S:
                pause = RESTART_FIRST_S
            if self._stopping:
                return
            self._end = asyncio.Event()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._rng.uniform(pause / 2, pause)):
                    await self._end.wait()
            pause = min(RESTART_LONGEST_S, pause * 2)

    async def _await_kinds(self, end: asyncio.Event) -> None:
        told = False
        while not end.is_set() and not await self._kinds_are_there():
            if not told:
                log.warning("the API server does not know AgentNodes and Agents: waiting for their definitions")
            told = True
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(KINDS_LOOK_S):
                    await end.wait()

    async def _watch_once(self, end: asyncio.Event) -> None:
        calm_toggles(self._listed)
        where: dict[str, Any] = {"namespaces": self._namespaces} if self._namespaces else {"clusterwide": True}
        await run_kopf(
            registry=self._registry(),
            settings=self._settings(),
            standalone=True,
            stop_flag=end,
            **where,
        )

    def _settings(self) -> kopf.OperatorSettings:
        settings = kopf.OperatorSettings()
        settings.scanning.disabled = True
        settings.watching.chunk_size = 500
        settings.watching.reconnect_backoff = 0.5
        for group, version, plural in (*CHILDREN.values(), PODS, SLICES):
            settings.watching.label_selectors[(group, version, plural)] = names.NODE_LABEL
        settings.networking.request_timeout = 30
        settings.networking.connect_timeout = 5
        settings.networking.error_backoffs = Backoffs(self._rng)
        settings.networking.enforce_retry_after = True
        settings.networking.trust_env = False
        # No limit: at the start workers wait for each other. They end soon, for each takes memory while it idles
        settings.queueing.worker_limit = None
        settings.queueing.idle_timeout = 0.05
        settings.posting.enabled = False
        # Without handlers of changes nothing reads these, yet every event would be copied twice for them
        settings.persistence.diffbase_storage = NoEssence()
        settings.persistence.progress_storage = NoProgress()
        settings.process.ultimate_exiting_timeout = None
        return settings

    def _registry(self) -> kopf.OperatorRegistry:
        """A fresh registry for every start: indexes of a former one must not live on."""
        registry = kopf.OperatorRegistry()
        kopf.on.login(registry=registry)(_login)
        kopf.on.startup(registry=registry)(self._begin)
        for kind, plural in ((names.AGENT_NODE, names.AGENT_NODES), (names.AGENT, names.AGENTS)):
            self._follow(registry, kind, (names.GROUP, names.VERSION, plural))
        for kind, address in CHILDREN.items():
            self._follow(registry, kind, address)
        for index, address, keys in INDEXES:
            kopf.index(*address, id=index, registry=registry)(_indexer(keys))
        kopf.on.event(*PODS, registry=registry)(self._pod_event)
        kopf.on.event(*SLICES, registry=registry)(self._slice_event)
        return registry

    def _follow(self, registry: kopf.OperatorRegistry, kind: str, address: tuple[str, str, str]) -> None:
        async def event(body: kopf.Body, type: str | None, **_: Any) -> None:
            if self._indexes is not None:
                self._listener.changed(kind, read_resource(kind, body), type == "DELETED", self._indexes)

        kopf.on.event(*address, id=f"{kind}-event", registry=registry)(event)

    async def _begin(self, **kwargs: Any) -> None:
        self._indexes = Indexes(
            **{part: Part(kwargs["of_nodes"], part) for part in ("nodes", "nodes_in")},
            **{
                part: Part(kwargs["of_agents"], part)
                for part in ("agents", "claims", "agents_naming", "agents_selecting")
            },
            children=_Union([kwargs[f"children_{kind}"] for kind in CHILDREN]),
            pods=kwargs["pods"],
            zones=kwargs["zones"],
        )
        self.started.set()

    def _listed(self) -> None:
        self._whole = self._indexes

    async def _pod_event(self, body: kopf.Body, type: str | None, **_: Any) -> None:
        self._listener.pod_changed(read_pod(body), type == "DELETED")

    async def _slice_event(self, body: kopf.Body, type: str | None, **_: Any) -> None:
        meta = read_meta(body)
        zones = {} if type == "DELETED" else read_zones(body)
        self._listener.zones_changed((meta.namespace, meta.name), str(meta.labels.get(names.NODE_LABEL, "")), zones)


class _Union(Mapping[Any, Any]):
    """Several indexes whose keys differ, as one."""

    def __init__(self, parts: list[Mapping[Any, Any]]) -> None:
        self._parts = parts

    def __getitem__(self, key: Any) -> Any:
        for part in self._parts:
            if key in part:
                return part[key]
        raise KeyError(key)

    def __iter__(self) -> Iterator[Any]:
        for part in self._parts:
            yield from part

    def __len__(self) -> int:
        return sum(map(len, self._parts))


def _login(**kwargs: Any) -> kopf.ConnectionInfo | None:
    return kopf.login_with_service_account(**kwargs) or kopf.login_with_kubeconfig(**kwargs)


def _indexer(keys: Keys) -> Callable[..., Awaitable[Mapping[Any, Any]]]:
    async def index(body: kopf.Body, **_: Any) -> Mapping[Any, Any]:
        return keys(body)

    return index


def _answer(future: "asyncio.Future[T]", value: T) -> None:
    if not future.done():
        future.set_result(value)


def _fail(future: "asyncio.Future[T]", error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
