"""What a gateway knows of its agents: lists, descriptions, and lists that stay up to date."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from typing import Any, TypedDict, TypeVar

import grpc
from grpc import aio

from switchboard.connection import FIRST_BACKOFF_S, MAX_BACKOFF_S
from switchboard.credentials import NOTHING, Credentials
from switchboard.diagnosis import explain
from switchboard.refusals import error_of
from switchboard_wire.errors import SwitchboardError, Unavailable, failure
from switchboard_wire.names import DESCRIBE_AGENT_METHOD, LIST_AGENTS_METHOD, LIST_INSTANCES_METHOD, WATCH_AGENTS_METHOD
from switchboard_wire.v1 import frames_pb2 as pb
from switchboard_wire.v1 import gateway_pb2 as api
from switchboard_wire.v1.instances_pb2 import InstanceList, InstanceQuery

A = TypeVar("A")


class AgentFilter(TypedDict, total=False):
    """Which Agents are meant: those that match everything given."""

    namespace: str  # the gateway's default when left out
    type: str
    capability: str
    node: str  # name of an AgentNode
    state: str  # Ready, Loading, Failed, Draining or Offline
    zone: str  # of one of its instances


class InstanceFilter(TypedDict, total=False):
    """Which instances are meant: those that match everything given."""

    namespace: str
    node: str  # name of an AgentNode
    type: str  # of an agent that it hosts
    capability: str
    zone: str
    state: str  # Starting, Up, Degraded, Draining or Down
    limit: int


class Listings:
    """Asks the gateway at `address`, each time on a channel of its own: these are seldom."""

    def __init__(self, address: str, timeout_s: float, credentials: Credentials = NOTHING) -> None:
        self._address = address
        self._credentials = credentials
        self._timeout_s = timeout_s

    async def find(self, wanted: AgentFilter) -> list[api.AgentSummary]:
        request = api.ListAgentsRequest(**wanted)
        found = await self._ask(LIST_AGENTS_METHOD, request, api.ListAgentsResponse.FromString)
        return list(found.agents)

    async def describe(self, type_: str, namespace: str) -> api.AgentTypeDescription:
        request = api.DescribeAgentRequest(namespace=namespace, type=type_)
        return await self._ask(DESCRIBE_AGENT_METHOD, request, api.AgentTypeDescription.FromString)

    async def instances(self, wanted: InstanceFilter) -> InstanceList:
        return await self._ask(LIST_INSTANCES_METHOD, InstanceQuery(**wanted), InstanceList.FromString)

    async def watch(self, wanted: AgentFilter) -> AsyncIterator[list[api.AgentSummary]]:
        """The list now, and anew whenever it has changed. A stream that is lost is opened again, after the first."""
        backoff_s, has_begun = FIRST_BACKOFF_S, False
        while True:
            try:
                async for found in self._watch_once(wanted):
                    backoff_s, has_begun = FIRST_BACKOFF_S, True
                    yield found
            except Unavailable:
                if not has_begun:
                    raise
            await asyncio.sleep(random.random() * backoff_s)
            backoff_s = min(2 * backoff_s, MAX_BACKOFF_S)

    async def _watch_once(self, wanted: AgentFilter) -> AsyncIterator[list[api.AgentSummary]]:
        known: dict[tuple[str, str], api.AgentSummary] = {}
        async with self._channel() as channel:
            method = channel.unary_stream(
                WATCH_AGENTS_METHOD, api.ListAgentsRequest.SerializeToString, api.AgentsUpdate.FromString
            )
            try:
                async for update in method(api.ListAgentsRequest(**wanted), metadata=self._metadata()):
                    known.update(((agent.namespace, agent.name), agent) for agent in update.changed)
                    for gone in update.removed:
                        known.pop((gone.namespace, gone.name), None)
                    if update.complete:
                        yield [known[key] for key in sorted(known)]
            except grpc.RpcError as error:
                raise await self._failure(error) from error

    async def _ask(self, path: str, request: Any, parse: Callable[[bytes], A]) -> A:
        async with self._channel() as channel:
            method = channel.unary_unary(path, lambda message: message.SerializeToString(), parse)
            try:
                answer: A = await method(request, timeout=self._timeout_s, metadata=self._metadata())
            except grpc.RpcError as error:
                raise await self._failure(error) from error
        return answer

    def _channel(self) -> aio.Channel:
        try:
            return self._credentials.open_channel(self._address)
        except OSError as error:
            raise self._unreachable(str(error)) from error

    def _metadata(self) -> list[tuple[str, str]]:
        try:
            return self._credentials.metadata(self._address)
        except OSError as error:
            raise self._unreachable(str(error)) from error

    async def _failure(self, error: Any) -> SwitchboardError:
        """The gateway's own error when it gave one; otherwise it was not there."""
        told = error_of(error)
        if told is not None:
            return told
        return self._unreachable(await explain(self._address, self._credentials, error.details()))

    def _unreachable(self, reason: str) -> SwitchboardError:
        return failure(pb.NODE_UNAVAILABLE, f"{self._address} cannot be reached: {reason}")
