"""The REST application and its server."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler

from switchboard_gateway.access.guard import Guard
from switchboard_gateway.access.security import OPEN, Security
from switchboard_gateway.access.shells import Doorway
from switchboard_gateway.core import Core
from switchboard_gateway.rest.bodies import Buffered
from switchboard_gateway.rest.connection import Connection, Door, to_response
from switchboard_gateway.rest.direct import Lane
from switchboard_gateway.rest.execute import Executions
from switchboard_gateway.rest.limits import RestLimits
from switchboard_gateway.rest.openapi import build_openapi
from switchboard_gateway.rest.problems import FAILED, to_problem
from switchboard_gateway.rest.reads import Reads
from switchboard_gateway.rest.responses import SERVER
from switchboard_gateway.rest.sockets import Sockets
from switchboard_wire.errors import ErrorValue, SwitchboardError
from switchboard_wire.v1 import frames_pb2 as pb

log = logging.getLogger("switchboard.gateway.rest")

_CORE: Final = web.AppKey("core", Core)
_LANE: Final = web.AppKey("lane", Lane)
_API: Final = "/api/v1"
_IN_NAMESPACE: Final = "/api/v1/namespaces/{namespace}"


def build_app(core: Core, limits: RestLimits | None = None, guard: Guard | None = None) -> web.Application:
    """The routes over one core. guard: None: no tokens are asked for. /health and /openapi.json never ask for one."""
    limits = limits or RestLimits()
    doorway = Doorway(core, guard, "rest")
    app = web.Application(middlewares=[_problems], client_max_size=limits.json_bytes)
    app[_CORE] = core
    buffered = Buffered(limits.buffered_bytes)
    app[_LANE] = Lane(core, limits, doorway, buffered)
    executions, reads = Executions(core, limits, doorway, buffered), Reads(core, doorway)
    document = web.json_response(build_openapi()).body

    async def openapi(_: web.Request) -> web.Response:
        return web.Response(body=document, content_type="application/json")

    for prefix in (_API, _IN_NAMESPACE):
        app.router.add_post(f"{prefix}/agents/{{agent}}/execute", executions.execute)
        app.router.add_post(f"{prefix}/capabilities/{{capability}}/execute", executions.execute)
        app.router.add_post(f"{prefix}/topics/{{topic}}/publish", executions.execute)
        app.router.add_get(f"{prefix}/agents", reads.agents)
        app.router.add_get(f"{prefix}/agents/{{agent}}", reads.agent)
        app.router.add_get(f"{prefix}/agents/{{agent}}/instances", reads.instances)
        app.router.add_get(f"{prefix}/statistics", reads.statistics)
    app.on_response_prepare.append(_name_server)
    sockets = Sockets(core, limits, doorway)
    app.on_shutdown.append(sockets.close)
    app.router.add_get("/ws", sockets.serve)
    app.router.add_get("/health", reads.health)
    app.router.add_get("/openapi.json", openapi)
    return app


@contextlib.asynccontextmanager
async def serve_rest(
    core: Core, host: str, port: int, limits: RestLimits | None = None, security: Security = OPEN
) -> AsyncIterator[int]:
    """Serve REST while the context is open; yields the port bound. Calls under way may finish, up to shutdown_s."""
    limits = limits or RestLimits()
    app = build_app(core, limits, security.guard)
    # The lane relies on it as well: who leaves in the middle of a body cancels the task that waits for the rest
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=limits.shutdown_s)
    await runner.setup()
    server = runner.server
    assert server is not None
    loop = asyncio.get_running_loop()
    tls = security.certificate.context if security.certificate is not None else None
    made = _connections(server, Door(limits), app[_LANE])
    shake_s = limits.first_request_s if tls is not None else None
    listener = await loop.create_server(made, host, port, backlog=1024, ssl=tls, ssl_handshake_timeout=shake_s)
    try:
        yield listener.sockets[0].getsockname()[1]
    finally:
        listener.close()
        await runner.cleanup()


def _connections(server: web.Server, door: Door, lane: Lane) -> Callable[[], Connection]:
    loop = asyncio.get_running_loop()
    return lambda: Connection(server, door, lane, loop)


async def _name_server(_: web.Request, response: web.StreamResponse) -> None:
    response.headers["Server"] = SERVER


@web.middleware
async def _problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """The edge: every error becomes a problem document, and only the log has its trace."""
    connection = request.protocol
    guarded = connection if isinstance(connection, Connection) else None
    if guarded is not None:
        guarded.request_began()
    try:
        response = await handler(request)
    except SwitchboardError as error:
        response = to_response(to_problem(error.error))
    except web.HTTPException as error:
        response = _http_problem(request, error)
    except Exception:
        log.exception("request failed", extra={"method": request.method, "route": _route(request)})
        response = to_response(to_problem(FAILED))
    finally:
        if guarded is not None:
            guarded.request_ended()
    if request.app[_CORE].leaving and not isinstance(response, web.WebSocketResponse):
        response.force_close()  # the client's next request goes to another replica
    return response


def _http_problem(request: web.Request, error: web.HTTPException) -> web.StreamResponse:
    """Errors of HTTP itself, which the error table does not know: the request is at fault."""
    headers = {}
    if isinstance(error, web.HTTPMethodNotAllowed):
        allowed = ", ".join(sorted(error.allowed_methods))
        detail = f"{error.method[:40]!a} is not for this path: {allowed}"
        headers = {"Allow": allowed}
    elif error.status == 404:
        routes = ", ".join(list_routes(request.app))
        detail = f"no such path; there is {routes}; namespaces/{{namespace}}/ may follow /api/v1/"
    else:
        detail = f"{error.status} {error.reason}"
    response = to_response(to_problem(ErrorValue(pb.VALIDATION_FAILED, detail), error.status))
    response.headers.update(headers)
    return response


def list_routes(app: web.Application) -> list[str]:
    """`METHOD /path` of every route outside namespaces, in the order of the table."""
    return [f"{method} {path}" for method, path in routes_of(app) if not path.startswith(_IN_NAMESPACE)]


def routes_of(app: web.Application) -> Iterator[tuple[str, str]]:
    """(method, path) of every route, HEAD left out."""
    for route in app.router.routes():
        if route.method != "HEAD" and route.resource is not None:
            yield route.method, route.resource.canonical


def _route(request: web.Request) -> str:
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else ""
