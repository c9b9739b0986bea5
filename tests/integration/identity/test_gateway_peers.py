"""Links among gateways with TLS and tokens, on loopback."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from identity_fakes import NOW, TestCa, TokenOf, gateway_slice, key_set, pod_slice
from prometheus_client import CollectorRegistry
from sidecar_ends import until

from switchboard_gateway.core import Core
from switchboard_gateway.links import LinkRules, LinkServer
from switchboard_gateway.metrics import GatewayMetrics
from switchboard_gateway.peers import Peers, Self
from switchboard_identity.gatekeeper import CheckRules, Gatekeeper
from switchboard_identity.keys import KeyCache, KeyedTokens
from switchboard_identity.membership import Membership, members_of
from switchboard_identity.serving import CertificateFolder, ReloadingContext
from switchboard_identity.tokens import KeySet
from switchboard_wire import names
from switchboard_wire.security import Dialling

HOME = "switchboard-system"
FIRST = TokenOf(pod="gateway-a", pod_uid="uid-a", namespace=HOME, service_account="switchboard-gateway")
SECOND = replace(FIRST, pod="gateway-b", pod_uid="uid-b")


@dataclass
class Replica:
    """One gateway, as far as its peers are concerned."""

    core: Core
    address: str

    @property
    def peers(self) -> set[str]:
        return {instance.name for instance in self.core.table.instances.values() if instance.is_relay}


@contextlib.asynccontextmanager
async def replica(
    ca: TestCa, folder: Path, name: str, token: TokenOf | None, *targets: str, trusts: TestCa | None = None
) -> AsyncIterator[Replica]:
    """A gateway that dials its targets. token: that it shows, None for none."""

    async def keys() -> KeySet:
        return key_set("key-1")

    path = ca.write(folder / name, names.LINKS_SERVICE)
    if token is not None:
        (path / "token").write_text(token.sign())
    membership = Membership()
    gateways = [(t.pod, t.pod_uid, "127.0.0.1") for t in (FIRST, SECOND)]
    slices = [gateway_slice(*gateways), pod_slice("writers", ("writers-1", "uid-1", "127.0.0.1"))]
    membership.update(members_of(slices, HOME))
    gate = Gatekeeper(KeyedTokens(KeyCache(keys), lambda: NOW), membership, CheckRules(), lambda: NOW)
    core = Core("default", GatewayMetrics.create(CollectorRegistry()))
    bundle = (trusts or ca).bundle
    dialling = Dialling(lambda: bundle, path / "token" if token is not None else None)
    peers = Peers(core, Self(name, token.pod_uid if token is not None else "uid-b"), targets, dialling)
    rules = LinkRules(name, gate, ReloadingContext(CertificateFolder(path)))
    async with LinkServer(core, rules, peers).serve("127.0.0.1", 0) as port:
        running = asyncio.create_task(peers.run())
        try:
            yield Replica(core, f"127.0.0.1:{port}")
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


async def test_gateways_link_by_tls_with_their_tokens(tmp_path: Path) -> None:
    ca = TestCa("ca")
    async with replica(ca, tmp_path, "gateway-a", FIRST) as first:
        async with replica(ca, tmp_path, "gateway-b", SECOND, first.address) as second:
            await until(lambda: (first.peers, second.peers) == ({"gateway/gateway-b"}, {"gateway/gateway-a"}))
        await until(lambda: first.peers == set())


@pytest.mark.parametrize(
    ("token", "why"),
    [
        pytest.param(None, "carries none", id="no token"),
        pytest.param(TokenOf(), "it is no gateway", id="the token of an agent's pod"),
        pytest.param(replace(SECOND, audience=("vault",)), "Audience", id="a token for another audience"),
        pytest.param(replace(SECOND, pod_uid="uid-c"), "is in no EndpointSlice", id="the token of a pod that is gone"),
        pytest.param(replace(SECOND, key="key-9"), "does not publish", id="a token of an unknown key"),
    ],
)
async def test_nobody_is_a_gateway_by(
    tmp_path: Path, token: TokenOf | None, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    ca = TestCa("ca")
    async with (
        replica(ca, tmp_path, "gateway-a", FIRST) as first,
        replica(ca, tmp_path, "gateway-b", token, first.address) as stranger,
    ):
        await until(lambda: any(why in str(getattr(record, "reason", "")) for record in caplog.records))
        assert (first.peers, stranger.peers) == (set(), set())


async def test_a_gateway_with_a_certificate_of_another_ca_gets_no_token(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", "switchboard.gateway.peers")
    ca = TestCa("ca")
    async with (
        replica(ca, tmp_path, "gateway-a", FIRST) as first,
        replica(ca, tmp_path, "gateway-b", SECOND, first.address, trusts=TestCa("other")) as second,
    ):
        await until(lambda: any("CERTIFICATE_VERIFY_FAILED" in str(getattr(r, "reason", "")) for r in caplog.records))
        assert (first.peers, second.peers) == (set(), set())
