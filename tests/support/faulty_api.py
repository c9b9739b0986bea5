"""A reverse proxy in front of a real API server that fails as it is told to."""

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import yaml
from aiohttp import web
from kubernetes import client, config

_HOP_BY_HOP = frozenset({"Host", "Content-Length", "Transfer-Encoding", "Connection", "Content-Encoding"})
_WATCH_ERROR = {"type": "ERROR", "object": {"kind": "Status", "code": 500, "message": "injected", "metadata": {}}}


@dataclass(slots=True)
class FaultyApi:
    """`status`: answer everything with it.  `forbidden`: beginnings of paths that are.  `delay_s`: answer that much
    later.  `held`: beginnings of paths whose listings are not answered before this changes; `waiting`: how many of them
    wait.  `fail_watches()`: end the running watches with an ERROR event."""

    kubeconfig: Path
    status: int = 0
    forbidden: tuple[str, ...] = ()
    delay_s: float = 0.0
    held: tuple[str, ...] = ()
    waiting: int = 0
    requests: int = 0
    _broken: asyncio.Event = field(default_factory=asyncio.Event)

    def fail_watches(self) -> None:
        self._broken.set()
        self._broken = asyncio.Event()

    def broken(self) -> asyncio.Event:
        """Set when the watches that run now are to fail."""
        return self._broken


@contextlib.asynccontextmanager
async def faulty_api(admin: Path, folder: Path) -> AsyncIterator[FaultyApi]:
    """The proxy, with a kubeconfig for it."""
    configuration = client.Configuration()
    config.load_kube_config(config_file=str(admin), client_configuration=configuration)
    context = ssl.create_default_context(cafile=configuration.ssl_ca_cert)
    context.load_cert_chain(configuration.cert_file, configuration.key_file)
    kubeconfig = folder / "faulty.kubeconfig"
    api = FaultyApi(kubeconfig)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context, limit=0)) as upstream:

        async def serve(request: web.Request) -> web.StreamResponse:
            return await _forward(api, upstream, configuration.host, request)

        app = web.Application(client_max_size=1 << 24)
        app.router.add_route("*", "/{path:.*}", serve)
        runner = web.AppRunner(app, shutdown_timeout=1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        kubeconfig.write_text(yaml.safe_dump(_kubeconfig(f"http://127.0.0.1:{port}")))
        try:
            yield api
        finally:
            api.fail_watches()
            await runner.cleanup()


async def _forward(
    api: FaultyApi, upstream: aiohttp.ClientSession, host: str, request: web.Request
) -> web.StreamResponse:
    api.requests += 1
    await asyncio.sleep(api.delay_s)
    if "watch=true" not in request.query_string:
        await _hold(api, request.path)
    status = 403 if request.path.startswith(api.forbidden or ("//",)) else api.status
    if status:
        return web.json_response({"kind": "Status", "code": status, "message": "injected"}, status=status)
    headers = {name: value for name, value in request.headers.items() if name not in _HOP_BY_HOP}
    broken = api.broken()
    timeout = aiohttp.ClientTimeout(total=None)
    data = await request.read()
    async with upstream.request(
        request.method, host + request.path_qs, headers=headers, data=data or None, timeout=timeout
    ) as answer:
        kept = {name: value for name, value in answer.headers.items() if name not in _HOP_BY_HOP}
        response = web.StreamResponse(status=answer.status, headers=kept)
        await response.prepare(request)
        cut = asyncio.create_task(broken.wait())
        try:
            while True:
                chunk = asyncio.create_task(answer.content.readany())
                await asyncio.wait({chunk, cut}, return_when=asyncio.FIRST_COMPLETED)
                if cut.done() and "watch=true" in request.query_string:
                    chunk.cancel()
                    await response.write(json.dumps(_WATCH_ERROR).encode() + b"\n")
                    break
                data = await chunk
                if not data:
                    break
                await response.write(data)
        finally:
            cut.cancel()
        await response.write_eof()
        return response


async def _hold(api: FaultyApi, path: str) -> None:
    api.waiting += 1
    try:
        while path.startswith(api.held or ("//",)):
            await asyncio.sleep(0.02)
    finally:
        api.waiting -= 1


def _kubeconfig(server: str) -> dict[str, object]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "users": [{"name": "u", "user": {}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "c",
    }
