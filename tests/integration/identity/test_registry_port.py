"""The Registry's port with TLS and tokens: real sidecars and a gateway's questions, on loopback."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from grpc import StatusCode, aio
from identity_ends import GOOD, REFUSED_TOKENS, running_sidecar
from identity_fakes import NOW, TestCa, TokenOf, gateway_slice, key_set, pod_slice
from sidecar_ends import until

from switchboard_identity.gatekeeper import CheckRules, Gatekeeper
from switchboard_identity.keys import KeyCache, KeyedTokens
from switchboard_identity.membership import Membership, members_of
from switchboard_identity.serving import CertificateFolder, server_credentials
from switchboard_identity.tokens import KeySet
from switchboard_operator.demand import Demands
from switchboard_operator.registry import Registry
from switchboard_operator.registry_gate import RegistryGate
from switchboard_operator.registry_server import Answering, Board, RegistryService, serve_registry
from switchboard_wire import names
from switchboard_wire.security import Dialling
from switchboard_wire.v1.instances_pb2 import InstanceList, InstanceQuery

HOME = "switchboard-system"
POD, OTHER = ("writers-1", "uid-1", "127.0.0.1"), ("readers-1", "uid-2", "127.0.0.1")
GATEWAY_POD = ("switchboard-gateway-1", "uid-3", "127.0.0.1")
READER = replace(GOOD, pod="readers-1", pod_uid="uid-2", service_account="readers")
GATEWAY = TokenOf(pod=GATEWAY_POD[0], pod_uid="uid-3", namespace=HOME, service_account="switchboard-gateway")


@dataclass
class Port:
    """An operator's Registry port and all it goes by."""

    address: str
    registry: Registry
    membership: Membership
    folder: Path
    ca: TestCa

    def list_pods(self, *slices: dict[str, Any]) -> None:
        self.membership.update(members_of([*slices, gateway_slice(GATEWAY_POD)], HOME))

    @property
    def registered(self) -> set[str]:
        """The pods that the Registry knows."""
        return {record.instance for pool in self.registry.pools() for record in self.registry.of(pool).values()}


@pytest.fixture
async def port(tmp_path: Path) -> AsyncIterator[Port]:
    async def keys() -> KeySet:
        return key_set("key-1")

    async def answer(query: InstanceQuery, context: Any) -> InstanceList:
        return InstanceList(operator="operator-1")

    ca, membership, registry = TestCa("ca"), Membership(), Registry(started=0.0)
    folder = ca.write(tmp_path / "tls", names.REGISTRY_SERVICE)
    gate = Gatekeeper(KeyedTokens(KeyCache(keys), lambda: NOW), membership, CheckRules(), lambda: NOW)
    board = Board()
    board.set_interval(("team", "writers"), 2000)
    service = RegistryService(registry, board, Demands(), lambda pool: None, "operator-1")
    inside = RegistryGate(gate, Answering(service.connect, answer))
    credentials = server_credentials(CertificateFolder(folder))
    answering = Answering(inside.connect, inside.query)
    async with serve_registry(answering, 0, "127.0.0.1", credentials) as bound:
        found = Port(f"127.0.0.1:{bound}", registry, membership, folder, ca)
        found.list_pods(pod_slice("writers", POD), pod_slice("readers", OTHER))
        yield found


async def test_a_sidecar_registers_with_its_token(port: Port, tmp_path: Path) -> None:
    async with running_sidecar(tmp_path / "a", GOOD, port.ca.bundle, registries=(port.address,)) as sidecar:
        await until(lambda: sidecar.registry.live == 1)
        assert port.registered == {"writers-1"}


@pytest.mark.parametrize(
    ("token", "changes", "why"),
    [
        *REFUSED_TOKENS,
        pytest.param(GOOD, {"instance": "readers-1"}, "instance is not its own", id="of a pod of another name"),
        pytest.param(GATEWAY, {"node": "writers"}, "a gateway says its name", id="a gateway's"),
    ],
)
async def test_a_sidecar_is_refused_and_told_why_when_its_token_is(
    port: Port, tmp_path: Path, token: TokenOf, changes: Any, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    changes = {"registries": (port.address,)} | changes
    async with running_sidecar(tmp_path / "a", token, port.ca.bundle, **changes):
        await until(lambda: any(why in str(getattr(record, "why", "")) for record in caplog.records))
    assert port.registered == set()


async def test_an_operator_with_a_certificate_of_another_ca_gets_no_token(
    port: Port, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", "sidecar.registry")
    async with running_sidecar(tmp_path / "a", GOOD, TestCa("other").bundle, registries=(port.address,)):
        await until(lambda: any("certificate" in str(getattr(r, "reason", "")) for r in caplog.records))
    assert port.registered == set()
    assert "refused" not in caplog.text


async def test_a_second_stream_of_a_pod_is_refused_and_the_first_stays(
    port: Port, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with running_sidecar(tmp_path / "a", GOOD, port.ca.bundle, registries=(port.address,)) as first:
        await until(lambda: first.registry.live == 1)
        async with running_sidecar(tmp_path / "b", GOOD, port.ca.bundle, registries=(port.address,)) as second:
            await until(lambda: any("has a stream here" in str(getattr(r, "why", "")) for r in caplog.records))
            assert (first.registry.live, second.registry.live) == (1, 0)


async def test_a_stream_ends_when_its_pod_leaves_the_slices(
    port: Port, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with running_sidecar(tmp_path / "a", GOOD, port.ca.bundle, registries=(port.address,)) as sidecar:
        await until(lambda: sidecar.registry.live == 1)
        port.list_pods(pod_slice("readers", OTHER))
        await until(lambda: any("is in no EndpointSlice" in str(getattr(r, "why", "")) for r in caplog.records))
        await until(lambda: sidecar.registry.live == 0)


async def test_a_sidecar_that_was_forgotten_while_it_was_silent_introduces_itself_again(
    port: Port, tmp_path: Path
) -> None:
    async with running_sidecar(tmp_path / "a", GOOD, port.ca.bundle, registries=(port.address,)):
        await until(lambda: port.registered == {"writers-1"})
        in_an_hour = asyncio.get_running_loop().time() + 3600
        assert port.registry.forget(in_an_hour, living=()) == [POD[1]]
        assert port.registered == set()
        await until(lambda: port.registered == {"writers-1"})


async def test_a_new_ca_serves_new_streams_and_breaks_no_old_one(port: Port, tmp_path: Path) -> None:
    new = TestCa("new")
    both = port.ca.bundle + new.bundle
    async with running_sidecar(tmp_path / "a", GOOD, both, registries=(port.address,)) as first:
        await until(lambda: first.registry.live == 1)
        opened = first.registry.live
        new.write(port.folder, names.REGISTRY_SERVICE)
        async with running_sidecar(tmp_path / "b", READER, new.bundle, registries=(port.address,)) as second:
            await until(lambda: second.registry.live == 1)
            assert first.registry.live == opened


@pytest.mark.parametrize(
    ("token", "code"),
    [
        pytest.param(GATEWAY, StatusCode.OK, id="a gateway"),
        pytest.param(GOOD, StatusCode.PERMISSION_DENIED, id="an agent's pod"),
        pytest.param(replace(GATEWAY, audience=("vault",)), StatusCode.UNAUTHENTICATED, id="another audience"),
        pytest.param(replace(GATEWAY, pod_uid="uid-9"), StatusCode.PERMISSION_DENIED, id="a pod that is not listed"),
        pytest.param(None, StatusCode.UNAUTHENTICATED, id="nobody"),
    ],
)
async def test_gateways_alone_ask_for_instances(port: Port, token: TokenOf | None, code: StatusCode) -> None:
    metadata = (("authorization", f"Bearer {token.sign()}"),) if token is not None else None
    channel: Any = Dialling(lambda: port.ca.bundle).open_channel(port.address, names.REGISTRY_SERVICE)
    async with channel:
        ask = channel.unary_unary(names.REGISTRY_QUERY_METHOD, InstanceQuery.SerializeToString, InstanceList.FromString)
        call = ask(InstanceQuery(), metadata=metadata, timeout=60)
        with contextlib.suppress(aio.AioRpcError):
            assert (await call).operator == "operator-1"
        assert await call.code() == code
