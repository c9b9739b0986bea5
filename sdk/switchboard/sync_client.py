"""The client for programs without asyncio."""

import asyncio
import threading
from concurrent.futures import Future
from functools import partial
from typing import Self, Unpack

from switchboard.client import Client
from switchboard.connection import CONNECT_WAIT_S
from switchboard.credentials import AccessOptions
from switchboard.listing import AgentFilter, InstanceFilter
from switchboard.sync_caller import SyncCaller
from switchboard_wire.v1 import gateway_pb2 as api
from switchboard_wire.v1.instances_pb2 import InstanceList


class SyncClient(SyncCaller):
    """A Client on an event loop in a thread of its own; may be used from many threads.

        with SyncClient() as client:
            print(client.request("summarizer", "a long text").text)

    Arguments are those of Client.
    """

    __slots__ = ("_client", "_make", "_stop", "_thread")

    def __init__(
        self,
        address: str | None = None,
        *,
        timeout_s: float | None = None,
        connect_timeout_s: float = CONNECT_WAIT_S,
        **access: Unpack[AccessOptions],
    ) -> None:
        self._make = partial(Client, address, timeout_s=timeout_s, connect_timeout_s=connect_timeout_s, **access)
        self._thread: threading.Thread | None = None
        self._client: Client | None = None
        self._stop: asyncio.Event | None = None

    def __enter__(self) -> Self:
        started: Future[Client] = Future()
        self._thread = threading.Thread(target=self._work, args=(started,), name="switchboard-client", daemon=True)
        self._thread.start()
        self._client = started.result()
        return self

    def _work(self, started: "Future[Client]") -> None:
        try:
            asyncio.run(self._serve(started))
        except BaseException as error:
            if started.done():
                raise
            started.set_exception(error)

    async def _serve(self, started: "Future[Client]") -> None:
        self._stop = asyncio.Event()
        async with self._make() as client:
            super().__init__(client, asyncio.get_running_loop())
            started.set_result(client)
            await self._stop.wait()

    def __exit__(self, *_: object) -> None:
        if self._thread is not None and self._stop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join()

    def agents(self, **wanted: Unpack[AgentFilter]) -> list[api.AgentSummary]:
        """The agents that the gateway knows, by filter. Raises NodeUnavailable."""
        return self._run(self._open_client.agents(**wanted))

    def describe(self, type: str, *, namespace: str = "") -> api.AgentTypeDescription:
        """The Agents of one type and their instances, as one replica sees them. Raises AgentNotFound."""
        return self._run(self._open_client.describe(type, namespace=namespace))

    def instances(self, **wanted: Unpack[InstanceFilter]) -> InstanceList:
        """The instances of all pools with their load, by filter. Raises NodeUnavailable."""
        return self._run(self._open_client.instances(**wanted))

    @property
    def _open_client(self) -> Client:
        assert self._client is not None, "use it as a context: with SyncClient() as client"
        return self._client
