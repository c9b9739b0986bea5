"""A gateway of which a part has failed ends, for nobody would see that it is missing."""

import asyncio

import pytest

from switchboard_gateway.peers import Peers
from switchboard_gateway.server import serve
from switchboard_gateway.settings import GatewaySettings
from switchboard_identity.settings import IdentitySettings

pytestmark = pytest.mark.integration


async def test_a_gateway_ends_with_the_error_of_a_job_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(_: Peers) -> None:
        raise RuntimeError("a bug of ours")

    monkeypatch.setattr(Peers, "run", fail)
    ports = dict.fromkeys(("grpc_port", "http_port", "links_port", "session_port", "ops_port"), 0)
    settings = GatewaySettings(announced=True, bind="127.0.0.1", identity=IdentitySettings(plain_text=True), **ports)
    stop = asyncio.Event()
    with pytest.raises(RuntimeError, match="a bug of ours"):
        async with asyncio.timeout(120):
            await serve(settings, stop)
    assert stop.is_set(), "it has drained as at any other end"
