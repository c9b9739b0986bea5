"""The public gRPC port on real sockets: health, reflection, limits, connections that grow old without a failed call."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from grpc import aio
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from prometheus_client import CollectorRegistry
from rest_server import FakeInstance, echo, make_policy

from switchboard import Client
from switchboard_gateway.age import Age
from switchboard_gateway.core import Core
from switchboard_gateway.grpc_limits import GrpcLimits
from switchboard_gateway.grpc_server import serve_grpc
from switchboard_gateway.health import HealthApi
from switchboard_gateway.instances import Instance
from switchboard_gateway.metrics import GatewayMetrics
from switchboard_gateway.public import PublicApi
from switchboard_gateway.sessions import Sessions
from switchboard_wire import names
from switchboard_wire.calls import IncomingCall, Payload
from switchboard_wire.peer import Peer, local_pair
from switchboard_wire.v1 import frames_pb2 as pb
from switchboard_wire.v1 import gateway_pb2 as api

PATIENCE_S = 120.0
Status = health_pb2.HealthCheckResponse
ECHO = api.Message(open=pb.Open(target=pb.Target(type="echo")), data=b"x", content_type="text/plain")
REFLECTION = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"


@dataclass
class Gateway:
    core: Core
    channel: Any
    address: str
    unready: str | None = None

    def check(self, service: str = "") -> Any:
        return self.unary("/grpc.health.v1.Health/Check", health_pb2.HealthCheckRequest(service=service), Status)

    def watch(self, service: str = "") -> Any:
        method = self.channel.unary_stream(
            "/grpc.health.v1.Health/Watch", lambda message: message.SerializeToString(), Status.FromString
        )
        return method(health_pb2.HealthCheckRequest(service=service))

    def unary(self, path: str, message: Any, answer: Any, **options: Any) -> Any:
        method = self.channel.unary_unary(path, lambda message: message.SerializeToString(), answer.FromString)
        return method(message, timeout=PATIENCE_S, **options)

    def request(self, message: api.Message = ECHO, **options: Any) -> Any:
        return self.unary(names.REQUEST_METHOD, message, api.Answer, **options)


@contextlib.asynccontextmanager
async def running(reached_at: str = "", **limits: Any) -> AsyncIterator[Gateway]:
    core = Core("default", GatewayMetrics.create(CollectorRegistry()))
    fake = FakeInstance()

    async def outlive(call: IncomingCall) -> None:
        """Answer when another session has begun, because that of the caller grew old."""
        before = set(core.sessions)
        while set(core.sessions) <= before:
            await asyncio.sleep(0.005)
        await call.close(Payload(b"outlived", "text/plain"))

    fake.handlers = {"echo": echo, "outlive": outlive}
    link, _ = local_pair(FakeInstance(), fake)
    core.add_instance(
        Instance(peer=link, namespace="default", node="writers", name="w-1", hosted=frozenset(fake.handlers))
    )
    core.set_directory([make_policy(name) for name in fake.handlers])
    settings = GrpcLimits(**limits)
    sessions = Sessions(core, Age(settings.connection_age_s, settings.connection_grace_s))
    gateway = Gateway(core, None, "")
    health = HealthApi(lambda: gateway.unready)
    async with (
        sessions.serve("127.0.0.1", 0, reached_at),
        health.keep(),
        serve_grpc("127.0.0.1:0", PublicApi(core, sessions), health, settings) as port,
    ):
        gateway.address = f"127.0.0.1:{port}"
        async with aio.insecure_channel(gateway.address) as gateway.channel:
            yield gateway


@pytest.mark.parametrize("service", ["", "switchboard.v1.Gateway"])
async def test_health_follows_readiness(service: str) -> None:
    async with running() as gateway:
        assert (await gateway.check(service)).status == Status.SERVING
        gateway.unready = "the gateway stops"
        assert (await gateway.check(service)).status == Status.NOT_SERVING


async def test_who_watches_health_hears_of_every_change_in_time() -> None:
    async with running() as gateway, asyncio.timeout(PATIENCE_S):
        watch = gateway.watch()
        assert (await watch.read()).status == Status.SERVING
        gateway.unready = "the gateway stops"
        assert (await watch.read()).status == Status.NOT_SERVING
        gateway.unready = None
        assert (await watch.read()).status == Status.SERVING
        watch.cancel()


async def test_the_health_of_an_unknown_service_is_unknown() -> None:
    async with running() as gateway, asyncio.timeout(PATIENCE_S):
        with pytest.raises(aio.AioRpcError) as caught:
            await gateway.check("other")
        assert caught.value.code() == grpc.StatusCode.NOT_FOUND
        watch = gateway.watch("other")
        assert (await watch.read()).status == Status.SERVICE_UNKNOWN
        watch.cancel()
        with pytest.raises(aio.AioRpcError) as caught:
            await gateway.channel.unary_unary("/grpc.health.v1.Health/Check")(b"\xff\xff")
        assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT


async def reflect(gateway: Gateway, **asked: str) -> Any:
    method = gateway.channel.stream_stream(
        REFLECTION,
        lambda message: message.SerializeToString(),
        reflection_pb2.ServerReflectionResponse.FromString,
    )
    call = method(iter([reflection_pb2.ServerReflectionRequest(**asked)]), timeout=PATIENCE_S)
    return await call.read()


async def test_reflection_tells_of_services_when_it_is_on() -> None:
    async with running(reflection=True) as gateway:
        listed = (await reflect(gateway, list_services="")).list_services_response.service
        assert {found.name for found in listed} >= {"switchboard.v1.Gateway", "grpc.health.v1.Health"}
        found = await reflect(gateway, file_containing_symbol="switchboard.v1.Gateway")
        assert len(found.file_descriptor_response.file_descriptor_proto) > 0


async def test_reflection_is_off_unless_asked_for() -> None:
    async with running() as gateway:
        with pytest.raises(aio.AioRpcError) as caught:
            await reflect(gateway, list_services="")
        assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED


async def test_what_is_too_large_is_refused_and_others_are_served() -> None:
    async with running(max_metadata_bytes=2048) as gateway:
        large = api.Message(open=ECHO.open, data=b"x" * 1_100_000)
        with pytest.raises(aio.AioRpcError) as caught:
            await gateway.request(large)
        assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        with pytest.raises(aio.AioRpcError) as caught:
            await gateway.request(metadata=(("a", "b" * 4000),))
        assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert (await gateway.request(metadata=(("a", "b" * 500),))).data == b"x"


async def test_a_larger_request_may_be_allowed() -> None:
    async with running(max_request_bytes=4 * 1024 * 1024) as gateway:
        assert len((await gateway.request(api.Message(open=ECHO.open, data=b"x" * 1_000_000))).data) == 1_000_000


async def test_a_connection_that_says_nothing_is_closed() -> None:
    async with running(handshake_s=1) as gateway:
        host, _, port = gateway.address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        async with asyncio.timeout(PATIENCE_S):
            while await reader.read(1024):
                pass
        writer.close()


async def seen(gateway: Gateway, known: set[Peer]) -> None:
    """Note every session that there is."""
    while True:
        known.update(gateway.core.sessions)
        await asyncio.sleep(0.005)


@pytest.mark.parametrize("reached_at", ["", "127.0.0.1"], ids=["on gRPC", "on a socket"])
async def test_sessions_grow_old_and_begin_anew_without_a_failed_call(reached_at: str) -> None:
    async with running(reached_at, connection_age_s=1.0, connection_grace_s=PATIENCE_S) as gateway:
        known: set[Peer] = set()
        watching = asyncio.create_task(seen(gateway, known))
        async with Client(gateway.address) as client, asyncio.timeout(PATIENCE_S):
            answers: list[str] = []
            while len(known) < (4 if not reached_at else 8):
                long = asyncio.ensure_future(client.request("outlive"))
                while not long.done():
                    answers.append((await client.request("echo", "x")).text)
                    await asyncio.sleep(0.01)
                answers.append(long.result().text)
        watching.cancel()
        assert set(answers) == {"x", "outlived"}


async def test_a_client_that_ignores_the_goodbye_is_cut_off() -> None:
    async with running(connection_age_s=0.5, connection_grace_s=0.5) as gateway, asyncio.timeout(PATIENCE_S):
        session = gateway.channel.stream_stream(names.SESSION_METHOD)()
        kinds: set[int] = set()
        with contextlib.suppress(aio.AioRpcError):
            while (batch := await session.read()) is not aio.EOF:  # type: ignore[attr-defined]
                kinds |= {frame.kind for frame in pb.Batch.FromString(batch).frames}
                await session.write(pb.Batch(frames=[pb.Frame(kind=pb.PING)]).SerializeToString())
        assert pb.GOAWAY in kinds


async def test_a_plain_grpc_client_does_not_notice_that_its_connection_was_old() -> None:
    async with running(connection_age_s=0.5, connection_grace_s=PATIENCE_S) as gateway, asyncio.timeout(PATIENCE_S):
        until = asyncio.get_running_loop().time() + 2.0
        while asyncio.get_running_loop().time() < until:
            assert (await gateway.request()).data == b"x"
