"""Every gateway is linked, every operator hears of every change; who goes and comes is found again."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sidecar_ends import PATIENCE_S, FakeGateway, FakeOperator, assignment, running, staged, until

import switchboard_sidecar.sidecar as sidecar_module
from switchboard_wire.errors import AgentOffline
from switchboard_wire.internal_v1 import registry_pb2
from switchboard_wire.v1 import frames_pb2 as pb

pytestmark = pytest.mark.integration
Start = Callable[[Any], Awaitable[Any]]


async def test_every_gateway_is_linked_and_told_of_the_others(tmp_path: Path, start: Start) -> None:
    second = await start(FakeGateway())
    third = await start(FakeGateway())
    async with staged(tmp_path) as stage:
        gateways = (stage.gateway.address, second.address.replace("127.0.0.1", "localhost"))
        stage.settings = replace(stage.settings, gateways=gateways)
        stage.assign(assignment("echo"))
        async with running(stage):
            stage.attach()
            await until(lambda: stage.gateway.ready == second.ready == {"echo"})
            assert third.peers == []
            peers = pb.Peers(addresses=[stage.gateway.address, third.address])
            stage.gateway.peer.send(pb.Frame(kind=pb.PEERS, peers=peers))
            await until(lambda: third.ready == {"echo"})
            assert (await third.call("echo")).data == b"hi"
            assert len(stage.gateway.peers) == 1


async def test_a_gateway_that_restarts_is_linked_again_and_calls_go_on(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        stage.assign(assignment("echo"))
        async with running(stage) as sidecar:
            host = stage.attach()
            await until(lambda: stage.gateway.ready == {"echo"})
            address = stage.gateway.address
            await stage.gateway.stop()
            await until(lambda: sidecar.links.live == 0)
            held = asyncio.ensure_future(host.call("far", b"patient"))
            await until(lambda: sidecar.outbound.held == 1)
            await stage.gateway.start(address)
            assert (await held).data == b"patient"
            assert (await stage.gateway.call("echo")).data == b"hi"


async def test_without_any_gateway_a_call_of_the_host_ends_at_its_deadline(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        await stage.gateway.stop()
        stage.assign(assignment("echo"))
        async with running(stage) as sidecar:
            host = stage.attach()
            await until(lambda: sidecar.why_not_ready() is None)
            with pytest.raises(AgentOffline, match="no gateway"):
                await host.call("far", deadline_ms=100)


async def test_calls_leave_over_the_link_with_the_fewest_and_not_over_one_that_goes_away(
    tmp_path: Path, start: Start
) -> None:
    other = await start(FakeGateway())
    async with staged(tmp_path) as stage:
        stage.settings = replace(stage.settings, gateways=(stage.gateway.address, other.address))
        going, staying = stage.gateway, other
        going.answer = staying.answer = None
        stage.assign(assignment("echo"))
        async with running(stage) as sidecar:
            host = stage.attach()
            await until(lambda: going.ready == staying.ready == {"echo"})
            await until(lambda: sidecar.links.live == 2)
            waiting = [asyncio.ensure_future(host.call("far", deadline_ms=60_000)) for _ in range(6)]
            await until(lambda: len(going.opened) + len(staying.opened) == 6)
            assert len(going.opened) == len(staying.opened) == 3
            going.peer.send(pb.Frame(kind=pb.GOAWAY, goaway=pb.Goaway(reason="rolling")))
            await until(lambda: sidecar.links.live == 1)
            waiting += [asyncio.ensure_future(host.call("far", deadline_ms=60_000)) for _ in range(4)]
            await until(lambda: len(staying.opened) == 7)
            assert len(going.opened) == 3
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
            await until(lambda: sidecar.outbound.in_flight == 0)
            await until(lambda: all(call.cancelled for call in staying.opened))


async def test_pings_carry_the_load_of_the_host_when_it_says_it(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        stage.assign(assignment("echo"), concurrency=1)
        async with running(stage):
            host = stage.attach(answer=None)
            await until(lambda: stage.gateway.ready == {"echo"})
            calls = [stage.gateway.open("echo") for _ in range(3)]
            await until(lambda: host.opened)

            def load() -> pb.Load:
                pings = [frame.ping.load for frame in stage.gateway.controls if frame.kind == pb.PING]
                return pings[-1] if pings else pb.Load()

            await until(lambda: (load().in_flight, load().queued) == (1, 2))
            for call in calls:
                call.cancel()
            host.peer.send(pb.Frame(kind=pb.PING, ping=pb.Ping(number=1, load=pb.Load(cpu=0.5, memory=0.25))))
            await until(lambda: (load().in_flight, load().cpu, load().memory) == (0, 0.5, 0.25))


def accept_twice(server: socket.socket) -> None:
    """Take two connections and never speak on them: the second comes when the first was given up."""
    server.settimeout(PATIENCE_S)
    with server.accept()[0], server.accept()[0]:
        pass


async def test_an_address_that_accepts_and_stays_silent_is_given_up_and_disturbs_nobody(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        async with staged(tmp_path) as stage:
            addresses = (stage.gateway.address, f"127.0.0.1:{silent.getsockname()[1]}")
            stage.settings = replace(stage.settings, gateways=addresses)
            stage.assign(assignment("echo"))
            async with running(stage) as sidecar:
                stage.attach()
                await until(lambda: stage.gateway.ready == {"echo"})
                await asyncio.to_thread(accept_twice, silent)
                assert sidecar.links.live == 1
                assert (await stage.gateway.call("echo")).data == b"hi"


async def test_a_gateway_of_another_protocol_is_refused(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        stage.gateway.greets = False
        stage.assign(assignment("echo"))
        async with running(stage) as sidecar:
            stage.attach()
            await until(lambda: stage.gateway.peers)
            stage.gateway.peer.send(pb.Frame(kind=pb.HELLO, hello=pb.Hello(protocol_min=7, protocol_max=9)))
            await until(lambda: len(stage.gateway.hellos) > 1)
            assert sidecar.links.live == 0


async def test_operators_hear_of_registration_state_and_drain_at_once(tmp_path: Path, start: Start) -> None:
    first = await start(FakeOperator(interval_ms=60_000))
    second = await start(FakeOperator(interval_ms=200))
    token = tmp_path / "token"
    token.write_text("secret-1\n")
    async with staged(tmp_path, registries=(first.address, second.address), token_path=token) as stage:
        stage.assign(assignment("echo"), concurrency=3)
        async with running(stage) as sidecar:
            await until(lambda: first.hellos and second.hellos)
            hello = first.hellos[0]
            assert (hello.node, hello.instance, hello.token) == ("writers", "writers-1", "secret-1")
            await until(lambda: stage.gateway.hellos)
            assert stage.gateway.hellos[0].token == "secret-1"
            stage.attach()
            # The first asked for a heartbeat a minute: what it hears now was sent because it changed
            await until(lambda: first.heartbeats and first.heartbeats[-1].ready)
            hosted = [heartbeat.hosted for heartbeat in first.heartbeats if heartbeat.HasField("hosted")]
            assert [agent.name for agent in hosted[-1].agents] == ["echo"]
            said = len(second.heartbeats)
            await until(lambda: len(second.heartbeats) > said + 5)
            assert not any(heartbeat.HasField("hosted") for heartbeat in second.heartbeats[-3:]), "nothing new of it"
            numbers = [heartbeat.number for heartbeat in second.heartbeats]
            assert numbers == list(range(1, len(numbers) + 1))
            draining = asyncio.ensure_future(stage.drain())
            await until(lambda: first.heartbeats[-1].draining)
            assert not first.heartbeats[-1].ready
            await draining
            assert sidecar.registry.live == 2


async def test_an_operator_that_restarts_is_told_everything_again(tmp_path: Path, start: Start) -> None:
    operator = await start(FakeOperator())
    async with staged(tmp_path, registries=(operator.address,)) as stage:
        stage.assign(assignment("echo"))
        async with running(stage) as sidecar:
            stage.attach()
            await until(lambda: operator.heartbeats and operator.heartbeats[-1].ready)
            await operator.stop()
            await until(lambda: sidecar.registry.live == 0)
            assert (await stage.gateway.call("echo")).data == b"hi"
            again = FakeOperator()
            await again.start(operator.address)
            await until(lambda: again.heartbeats and again.heartbeats[-1].ready)
            await again.stop()


async def test_a_fresh_token_is_shown_before_the_old_one_expires(
    tmp_path: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sidecar_module, "TOKEN_POLL_S", 0.05)
    operator = await start(FakeOperator())
    token = tmp_path / "token"
    token.write_text("first")
    async with staged(tmp_path, registries=(operator.address,), token_path=token) as stage:
        stage.assign(assignment("echo"))
        async with running(stage) as sidecar:
            await until(lambda: sidecar.links.live == sidecar.registry.live == 1)
            token.unlink()  # kubelet swaps it; in between there may be none
            token.write_text("second")
            await until(lambda: operator.tokens == ["second"])

            def shown() -> list[str]:
                return [frame.auth.token for frame in stage.gateway.controls if frame.kind == pb.AUTH]

            await until(lambda: shown() == ["second"])


async def test_an_operator_that_refuses_is_asked_again_and_messages_flow(tmp_path: Path, start: Start) -> None:
    operator = await start(FakeOperator())
    async with staged(tmp_path, registries=(operator.address,)) as stage:
        stage.assign(assignment("echo"))
        async with running(stage):
            stage.attach()
            await until(lambda: stage.gateway.ready == {"echo"})
            error = pb.Error(code=pb.PERMISSION_DENIED, message="not of this cluster")
            operator.outbox.put_nowait(registry_pb2.Directive(refused=error))
            await until(lambda: len(operator.hellos) == 2)
            assert (await stage.gateway.call("echo")).data == b"hi"
