"""TLS on the ports of clients: whom clients trust, a certificate that changes, and errors that say what to change."""

import asyncio
import ssl
from pathlib import Path

import aiohttp
import pytest
from access_ends import Serve
from identity_fakes import TestCa

from switchboard import Client, NodeUnavailable
from switchboard_gateway.access.certificate import ClientCertificate, NoCertificate
from switchboard_identity import serving as identity_serving

pytestmark = pytest.mark.integration

DEADLINE_S = 120.0
CONNECT_S = 20.0
SHORT_S = 15.0


def bundle_of(ca: TestCa, folder: Path) -> Path:
    path = folder / f"{ca.name}.pem"
    path.write_bytes(ca.bundle)
    return path


async def get(url: str, ca: Path) -> int:
    context = ssl.create_default_context(cafile=ca)
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=DEADLINE_S)) as session,
        session.get(url, ssl=context) as response,
    ):
        return response.status


async def test_all_ports_speak_tls_to_who_trusts_its_ca(serving: Serve, tmp_path: Path) -> None:
    ca = TestCa("ours")
    folder, bundle = ca.write(tmp_path / "tls", "localhost"), bundle_of(ca, tmp_path)
    async with serving(checks=False, tls_folder=folder) as ports:
        assert await get(f"{ports.url}/agents", bundle) == 200
        async with Client(ports.grpc, ca_file=bundle, connect_timeout_s=CONNECT_S) as client:
            assert [agent.name for agent in await client.agents(namespace=ports.namespace)] == ["echo", "secret"]
            assert (await client.request("echo", "hello")).value == "hello"
            async with asyncio.timeout(DEADLINE_S):
                while type(client._connection.peer).__name__ != "SocketPeer":
                    await asyncio.sleep(0.01)
            assert (await client.request("echo", "on a socket")).value == "on a socket"


async def test_nothing_older_than_tls_1_2_is_spoken(serving: Serve, tmp_path: Path) -> None:
    ca = TestCa("ours")
    async with serving(checks=False, tls_folder=ca.write(tmp_path / "tls", "localhost")) as ports:
        for port in (int(ports.grpc.rpartition(":")[2]), ports.http):
            old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
            old.set_ciphers("ALL:@SECLEVEL=0")
            with pytest.warns(DeprecationWarning, match="TLSv1_1"):
                old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
            with pytest.raises((ssl.SSLError, ConnectionError)):
                await asyncio.open_connection("localhost", port, ssl=old)


@pytest.mark.parametrize("surface", ["session", "list"])
async def test_a_certificate_of_another_ca_is_not_trusted_and_the_error_says_so(
    serving: Serve, tmp_path: Path, surface: str
) -> None:
    folder, wrong = TestCa("ours").write(tmp_path / "tls", "localhost"), bundle_of(TestCa("wrong"), tmp_path)
    async with (
        serving(checks=False, tls_folder=folder) as ports,
        Client(ports.grpc, ca_file=wrong, connect_timeout_s=SHORT_S) as client,
    ):
        with pytest.raises(NodeUnavailable, match=r"its certificate is not trusted .*--ca-file"):
            await (client.request("echo", "x") if surface == "session" else client.agents())


async def test_a_certificate_for_another_name_is_not_trusted(serving: Serve, tmp_path: Path) -> None:
    ca = TestCa("ours")
    folder, bundle = ca.write(tmp_path / "tls", "elsewhere.example.org"), bundle_of(ca, tmp_path)
    async with (
        serving(checks=False, tls_folder=folder) as ports,
        Client(ports.grpc, ca_file=bundle, connect_timeout_s=SHORT_S) as client,
    ):
        with pytest.raises(NodeUnavailable, match=r"not valid for 'localhost'"):
            await client.request("echo", "x")


@pytest.mark.parametrize("surface", ["session", "list"])
async def test_a_plain_client_learns_that_the_port_speaks_tls(serving: Serve, tmp_path: Path, surface: str) -> None:
    folder = TestCa("ours").write(tmp_path / "tls", "localhost")
    async with (
        serving(checks=False, tls_folder=folder) as ports,
        Client(ports.grpc, connect_timeout_s=SHORT_S) as client,
    ):
        with pytest.raises(NodeUnavailable, match=r"it speaks TLS, .*--tls"):
            await (client.request("echo", "x") if surface == "session" else client.agents())


@pytest.mark.parametrize("surface", ["session", "list"])
async def test_a_tls_client_learns_of_a_port_without_tls(serving: Serve, tmp_path: Path, surface: str) -> None:
    bundle = bundle_of(TestCa("ours"), tmp_path)
    async with serving(checks=False) as ports, Client(ports.grpc, ca_file=bundle, connect_timeout_s=SHORT_S) as client:
        with pytest.raises(NodeUnavailable, match=r"it speaks plain text, .*--no-tls"):
            await (client.request("echo", "x") if surface == "session" else client.agents())


async def test_a_new_certificate_serves_new_connections_and_breaks_no_old_one(
    serving: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(identity_serving, "RELOAD_S", 0.05)
    old, new = TestCa("old"), TestCa("new")
    folder, old_bundle = old.write(tmp_path / "tls", "localhost"), bundle_of(old, tmp_path)
    async with serving(checks=False, tls_folder=folder) as ports:
        async with Client(ports.grpc, ca_file=old_bundle, connect_timeout_s=CONNECT_S) as client:
            await client.request("echo", "hello")
            new.write(folder, "localhost")
            new_bundle = bundle_of(new, tmp_path)
            async with asyncio.timeout(DEADLINE_S):
                while await _is_refused(f"{ports.url}/agents", new_bundle):
                    await asyncio.sleep(0.05)
            assert (await client.request("echo", "still here")).value == "still here"
        async with Client(ports.grpc, ca_file=new_bundle, connect_timeout_s=CONNECT_S) as client:
            assert (await client.request("echo", "hello")).value == "hello"
        (folder / "tls.crt").write_bytes(b"half a certif")
        async with asyncio.timeout(DEADLINE_S):
            while "the new certificate is not sound" not in caplog.text:
                await asyncio.sleep(0.01)
        assert await get(f"{ports.url}/agents", new_bundle) == 200


async def _is_refused(url: str, ca: Path) -> bool:
    try:
        return await get(url, ca) != 200
    except aiohttp.ClientConnectorCertificateError:
        return True


def test_a_secret_without_a_sound_certificate_is_named_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(NoCertificate, match=r"tls\.crt is not there: the Secret needs tls\.crt and tls\.key"):
        ClientCertificate(tmp_path)
    folder = TestCa("ours").write(tmp_path / "tls", "localhost")
    (folder / "tls.key").write_bytes(TestCa("other").sign("localhost")[1])
    with pytest.raises(NoCertificate, match="no certificate chain with its key"):
        ClientCertificate(folder)
