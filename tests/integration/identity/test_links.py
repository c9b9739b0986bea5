"""Links with TLS and tokens: a gateway's port and real sidecars, on loopback."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from identity_ends import GOOD, REFUSED_TOKENS, running_sidecar
from identity_fakes import NOW, TestCa, TokenOf, key_set, pod_slice
from prometheus_client import CollectorRegistry
from sidecar_ends import until

from switchboard_gateway.core import Core
from switchboard_gateway.links import LinkRules, LinkServer
from switchboard_gateway.metrics import GatewayMetrics
from switchboard_identity.gatekeeper import CheckRules, Gatekeeper
from switchboard_identity.keys import KeyCache, KeyedTokens
from switchboard_identity.membership import Membership, members_of
from switchboard_identity.serving import CertificateFolder, ReloadingContext
from switchboard_identity.tokens import KeySet
from switchboard_sidecar.sidecar import Sidecar
from switchboard_wire import names

POD, OTHER = ("writers-1", "uid-1", "127.0.0.1"), ("readers-1", "uid-2", "127.0.0.1")


@dataclass
class Port:
    """A gateway's links port and all it goes by."""

    core: Core
    address: str
    folder: Path
    membership: Membership
    context: ReloadingContext
    gate: Gatekeeper
    ca: TestCa

    @property
    def instances(self) -> dict[str, str]:
        return {i.name: i.node for i in self.core.table.instances.values()}


@pytest.fixture
async def port(tmp_path: Path) -> AsyncIterator[Port]:
    async def keys() -> KeySet:
        return key_set("key-1")

    ca = TestCa("ca")
    folder = ca.write(tmp_path / "tls", names.LINKS_SERVICE)
    membership = Membership()
    membership.update(members_of([pod_slice("writers", POD), pod_slice("readers", OTHER)], "system"))
    gate = Gatekeeper(KeyedTokens(KeyCache(keys), lambda: NOW), membership, CheckRules(), lambda: NOW)
    core = Core("default", GatewayMetrics.create(CollectorRegistry()))
    context = ReloadingContext(CertificateFolder(folder))
    server = LinkServer(core, LinkRules("gateway-1", gate, context))
    async with server.serve("127.0.0.1", 0) as bound:
        yield Port(core, f"127.0.0.1:{bound}", folder, membership, context, gate, ca)


@contextlib.asynccontextmanager
async def running(
    port: Port, folder: Path, token: TokenOf, bundle: bytes | None = None, **changes: Any
) -> AsyncIterator[Sidecar]:
    """A sidecar of the pod that the token is for, linked to the port if it is let in."""
    trusted = bundle if bundle is not None else port.ca.bundle
    async with running_sidecar(folder, token, trusted, **({"gateways": (port.address,)} | changes)) as sidecar:
        yield sidecar


async def test_a_sidecar_links_by_tls_with_its_token_and_calls_bear_its_name(port: Port, tmp_path: Path) -> None:
    async with running(port, tmp_path / "a", GOOD) as sidecar:
        await until(lambda: sidecar.links.live == 1)
        assert port.instances == {"writers-1": "writers"}
        (instance,) = port.core.table.instances.values()
        assert instance.principal == "spiffe://cluster.local/ns/team/sa/writers"
    await until(lambda: port.instances == {})


@pytest.mark.parametrize(
    ("token", "changes", "why"),
    [
        *REFUSED_TOKENS,
    ],
)
async def test_a_sidecar_is_refused_and_told_why_when_its_token_is(
    port: Port, tmp_path: Path, token: TokenOf, changes: dict[str, object], why: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(port, tmp_path / "a", token, **changes) as sidecar:
        await until(lambda: any(why in str(getattr(r, "why", "")) for r in caplog.records if r.name == "sidecar.links"))
        assert (sidecar.links.live, port.instances) == (0, {})
    counted = port.core.metrics.refusals.values
    reason = "PERMISSION_DENIED" if "not its own" in why else "UNAUTHENTICATED"
    assert list(counted) == [("link", reason)]
    assert counted["link", reason] >= 1


async def test_a_gateway_with_a_certificate_of_another_ca_gets_no_token(
    port: Port, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", "sidecar.links")
    async with running(port, tmp_path / "a", GOOD, bundle=TestCa("other").bundle):
        await until(lambda: any("CERTIFICATE_VERIFY_FAILED" in str(getattr(r, "reason", "")) for r in caplog.records))
    assert port.instances == {}


async def test_a_certificate_for_another_service_is_refused(
    port: Port, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", "sidecar.links")
    port.ca.write(port.folder, names.REGISTRY_SERVICE)
    port.context.reload()
    async with running(port, tmp_path / "a", GOOD):
        await until(lambda: any("mismatch" in str(getattr(r, "reason", "")) for r in caplog.records))
    assert port.instances == {}


async def test_a_second_link_for_one_pod_is_refused_and_the_first_stays(
    port: Port, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(port, tmp_path / "a", GOOD) as first:
        await until(lambda: first.links.live == 1)
        (instance,) = port.core.table.instances.values()
        async with running(port, tmp_path / "b", GOOD) as second:
            await until(lambda: sum("already" in str(getattr(r, "why", "")) for r in caplog.records) >= 3)
            assert (first.links.live, second.links.live) == (1, 0)
            assert list(port.core.table.instances.values()) == [instance]


async def test_a_link_ends_when_its_pod_leaves_the_slices(port: Port, tmp_path: Path) -> None:
    async with running(port, tmp_path / "a", GOOD) as sidecar:
        await until(lambda: sidecar.links.live == 1)
        port.membership.update(members_of([pod_slice("readers", OTHER)], "system"))
        await until(lambda: port.instances == {})
        await until(lambda: sidecar.links.live == 0)


async def test_a_new_ca_serves_new_links_and_breaks_no_old_one(port: Port, tmp_path: Path) -> None:
    new = TestCa("new")
    both = port.ca.bundle + new.bundle
    async with running(port, tmp_path / "a", GOOD, bundle=both) as first:
        await until(lambda: first.links.live == 1)
        (link,) = port.core.table.instances.values()
        new.write(port.folder, names.LINKS_SERVICE)
        port.context.reload()
        second_token = replace(GOOD, pod="readers-1", pod_uid="uid-2", service_account="readers")
        async with running(port, tmp_path / "b", second_token, bundle=new.bundle) as second:
            await until(lambda: second.links.live == 1)
            assert port.instances == {"writers-1": "writers", "readers-1": "readers"}
            assert link in port.core.table.instances.values()


@contextlib.asynccontextmanager
async def another_port(port: Port, rules: LinkRules) -> AsyncIterator[str]:
    """One more port of the same gateway, by other rules; its address."""
    async with LinkServer(port.core, rules).serve("127.0.0.1", 0) as bound:
        yield f"127.0.0.1:{bound}"


async def test_while_tls_is_turned_on_a_pod_without_it_is_let_in_by_its_token_alone(
    port: Port, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rules = LinkRules("gateway-1", port.gate, port.context, plain_text=True)
    async with another_port(port, rules) as address:
        async with running(port, tmp_path / "a", GOOD, tls=False, gateways=(address,)) as former:
            await until(lambda: former.links.live == 1)
            second = replace(GOOD, pod="readers-1", pod_uid="uid-2", service_account="readers")
            async with running(port, tmp_path / "b", second, gateways=(address,)) as new:
                await until(lambda: new.links.live == 1)
                assert port.instances == {"writers-1": "writers", "readers-1": "readers"}
        await until(lambda: port.instances == {})
        bad = replace(GOOD, audience=("vault",))
        async with running(port, tmp_path / "c", bad, tls=False, gateways=(address,)) as stranger:
            await until(lambda: any("Audience" in str(getattr(r, "why", "")) for r in caplog.records))
            assert stranger.links.live == 0


async def test_a_pod_links_without_tls_only_where_it_is_being_turned_on_and_shows_no_token_then(
    port: Port, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", "sidecar.links")
    async with another_port(port, LinkRules("gateway-0")) as address:
        async with running(port, tmp_path / "a", GOOD, gateways=(address,)) as sidecar:
            await until(lambda: any(r.message == "link lost" for r in caplog.records))
            assert (sidecar.links.live, port.instances) == (0, {})
        async with running(port, tmp_path / "b", GOOD, plain_text=True, gateways=(address,)) as sidecar:
            await until(lambda: sidecar.links.live == 1)
            (instance,) = port.core.table.instances.values()
            assert (instance.name, instance.principal) == ("writers-1", "")
    async with (
        another_port(port, LinkRules("gateway-0", port.gate)) as address,
        running(port, tmp_path / "c", GOOD, plain_text=True, gateways=(address,)),
    ):
        await until(lambda: any("carries none" in str(getattr(r, "why", "")) for r in caplog.records))


async def test_a_wrong_certificate_is_no_reason_to_go_on_without_tls(
    port: Port, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", "sidecar.links")
    rules = LinkRules("gateway-1", port.gate, port.context, plain_text=True)
    async with (
        another_port(port, rules) as address,
        running(port, tmp_path / "a", GOOD, bundle=TestCa("x").bundle, plain_text=True, gateways=(address,)),
    ):
        await until(lambda: any("CERTIFICATE_VERIFY_FAILED" in str(getattr(r, "reason", "")) for r in caplog.records))
    assert port.instances == {}
    assert not any(r.message == "linking in plain text" for r in caplog.records)


async def test_plain_text_gets_nothing_from_the_port(port: Port) -> None:
    host, _, number = port.address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(number))
    writer.write(b"switchboard/1 link\n")
    with contextlib.suppress(ConnectionError):
        assert b"HELLO" not in await reader.read()
    writer.close()
    assert port.instances == {}
