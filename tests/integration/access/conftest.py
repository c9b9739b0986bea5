"""The ports of clients in this process, before a core with agents, and a real API server that knows the clients."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from access_ends import CACHE_S, Ports, Serve, Team, host_agents
from faulty_api import faulty_api
from prometheus_client import CollectorRegistry

from switchboard_gateway.access.building import secure
from switchboard_gateway.access.settings import AccessSettings
from switchboard_gateway.core import Core
from switchboard_gateway.grpc_limits import GrpcLimits
from switchboard_gateway.grpc_server import serve_grpc
from switchboard_gateway.health import HealthApi
from switchboard_gateway.metrics import GatewayMetrics
from switchboard_gateway.public import PublicApi
from switchboard_gateway.rest import serve_rest
from switchboard_gateway.sessions import Sessions
from switchboard_identity import asking

HOST = "127.0.0.1"
# A review may take so long on a busy machine
REVIEW_S = 60.0


@pytest.fixture
def team(kubectl: Any, namespace: str) -> Team:
    return Team(kubectl, namespace)


@pytest.fixture
def serving(control_plane: Path, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Serve:
    """Serves the ports of clients with agents `echo` and `secret`, by settings of the test's own."""
    monkeypatch.setattr(asking, "REVIEW_S", REVIEW_S)

    @contextlib.asynccontextmanager
    async def serve(**changes: Any) -> AsyncIterator[Ports]:
        settings = replace(AccessSettings(checks=True, cache_s=CACHE_S, outage_s=600.0), **changes)
        async with contextlib.AsyncExitStack() as stack:
            enter = stack.enter_async_context
            api = await enter(faulty_api(control_plane, tmp_path))
            monkeypatch.setenv("KUBECONFIG", str(api.kubeconfig))
            core = Core(namespace, GatewayMetrics.create(CollectorRegistry()))
            fake = host_agents(core, namespace)
            security = await enter(secure(settings, asyncio.Event(), core.metrics.count_reviews("clients")))
            guard, certificate = security.guard, security.certificate
            sessions = Sessions(core, guard=guard)
            tls = certificate.context if certificate is not None else None
            await enter(sessions.serve(HOST, 0, HOST, tls))
            health = HealthApi(lambda: None)
            public = PublicApi(core, sessions, guard)
            grpc_port = await enter(serve_grpc(f"{HOST}:0", public, health, GrpcLimits(), certificate))
            http_port = await enter(serve_rest(core, HOST, 0, security=security))
            scheme = "https" if tls is not None else "http"
            yield Ports(namespace, f"localhost:{grpc_port}", http_port, fake, api, core, scheme)

    return serve
