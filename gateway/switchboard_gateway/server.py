"""The gateway's process: its servers, started in order and drained in reverse."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator

from grpc import aio

from switchboard_gateway.core import Core
from switchboard_gateway.links import link_methods
from switchboard_gateway.metrics import GatewayMetrics
from switchboard_gateway.public import PublicApi
from switchboard_gateway.settings import GatewaySettings
from switchboard_runtime.ops import OpsRoutes, serve_ops
from switchboard_wire.limits import SERVER_OPTIONS
from switchboard_wire.streams import stream_service

log = logging.getLogger("switchboard.gateway")

# Streams get this long to end by themselves once they were told to
STOP_GRACE_S = 1.0


async def serve(settings: GatewaySettings, stop: asyncio.Event) -> None:
    """Serve until `stop` is set, then drain."""
    core = Core(settings.namespace, GatewayMetrics.create(), announced=settings.announced)
    async with contextlib.AsyncExitStack() as stack:
        enter = stack.enter_async_context
        ready = await enter(_directory(core, settings))
        await enter(serve_ops(OpsRoutes(readiness=ready), settings.ops_port, settings.bind))
        await enter(
            _grpc(f"{settings.bind}:{settings.links_port}", stream_service(link_methods(core, settings.instance)))
        )
        await enter(_grpc(f"{settings.bind}:{settings.grpc_port}", [PublicApi(core).handler()]))
        log.info("gateway serves", extra={"grpc": settings.grpc_port, "links": settings.links_port})
        await stop.wait()
        log.info("gateway stops")
