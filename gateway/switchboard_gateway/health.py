"""grpc.health.v1: whether this gateway takes calls, as its readiness says.

https://github.com/grpc/grpc/blob/master/doc/health-checking.md
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import grpc
from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2

from switchboard_gateway.changes import Changes

SERVICE: Final = "grpc.health.v1.Health"
# Asked by name, or as the whole server
NAMES: Final = ("", "switchboard.v1.Gateway")
# Readiness is a question; so often it is asked for those who watch
LOOK_S: Final = 0.2
# Each costs a task and a few hundred bytes
MAX_WATCHERS: Final = 1000

_Response = health_pb2.HealthCheckResponse
Readiness = Callable[[], str | None]


class HealthApi:
    """The handlers. readiness: why the gateway is not ready, or None. Watchers hear of changes while `keep` is open."""

    def __init__(self, readiness: Readiness) -> None:
        self._readiness = readiness
        self._changes = Changes()
        self._watchers = 0

    def handler(self) -> Any:
        """The service, ready to be added to a server."""
        methods = {
            "Check": grpc.unary_unary_rpc_method_handler(self._check),
            "Watch": grpc.unary_stream_rpc_method_handler(self._watch),
        }
        return grpc.method_handlers_generic_handler(SERVICE, methods)

    @asynccontextmanager
    async def keep(self) -> AsyncIterator[None]:
        """Look for changes of the readiness while open."""
        task = asyncio.create_task(self._look())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _look(self) -> None:
        known = self._status()
        while True:
            await asyncio.sleep(LOOK_S)
            status = self._status()
            if status != known:
                known = status
                self._changes.note()

    def _status(self) -> int:
        return int(_Response.SERVING if self._readiness() is None else _Response.NOT_SERVING)

    async def _check(self, data: bytes, context: Any) -> bytes:
        if await _service(data, context) not in NAMES:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"there is {' and '.join(map(repr, NAMES))}")
        return _encode(self._status())

    async def _watch(self, data: bytes, context: Any) -> AsyncIterator[bytes]:
        known = await _service(data, context) in NAMES
        if self._watchers >= MAX_WATCHERS:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, f"{MAX_WATCHERS} watch here already")
        self._watchers += 1
        try:
            told = -1
            while True:
                seen = self._changes.version
                status = self._status() if known else _Response.SERVICE_UNKNOWN
                if status != told:
                    told = status
                    yield _encode(status)
                await self._changes.wait(seen)
        finally:
            self._watchers -= 1


def _encode(status: int) -> bytes:
    return bytes(_Response(status=status).SerializeToString())


async def _service(data: bytes, context: Any) -> str:
    try:
        return str(health_pb2.HealthCheckRequest.FromString(data).service)
    except DecodeError:
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "not a HealthCheckRequest")
        raise
