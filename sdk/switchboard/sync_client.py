"""The client for programs without asyncio."""

import asyncio
import threading
from functools import partial
from typing import Any, Self

from switchboard.client import Client
from switchboard.connection import CONNECT_WAIT_S
from switchboard.sync_caller import SyncCaller
from switchboard_wire.v1 import gateway_pb2 as api


class SyncClient(SyncCaller):
    """A Client on an event loop in a thread of its own; may be used from many threads.

        with SyncClient() as client:
            print(client.request("summarizer", "a long text").text)

    Arguments are those of Client.
    """

    __slots__ = ("_client", "_make", "_thread")

    def __init__(
        self,
        address: str | None = None,
        *,
        timeout_s: float | None = None,
        connect_timeout_s: float = CONNECT_WAIT_S,
    ) -> None:
        self._make = partial(Client, address, timeout_s=timeout_s, connect_timeout_s=connect_timeout_s)
        self._client: Client | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=loop.run_forever, name="switchboard-client", daemon=True)
        self._thread.start()
        self._client = self._make()
        super().__init__(self._client, loop)
        self._run(self._client.__aenter__())
        return self

    def __exit__(self, *details: Any) -> None:
        if self._client is None or self._thread is None:
            return
        self._run(self._client.__aexit__(*details))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def agents(self, *, type: str = "", capability: str = "", namespace: str = "") -> list[api.AgentSummary]:
        """The agents that the gateway knows, by filter. Raises NodeUnavailable."""
        assert self._client is not None, "use it as a context: with SyncClient() as client"
        return self._run(self._client.agents(type=type, capability=capability, namespace=namespace))
