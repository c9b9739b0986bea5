"""Agents come and go without a restart; hosts reconnect."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from sidecar_ends import FakeOperator, assignment, echo, running, staged, until

from switchboard_wire.errors import NodeUnavailable, SwitchboardError
from switchboard_wire.internal_v1 import registry_pb2
from switchboard_wire.sockets import SocketPeer
from switchboard_wire.v1 import frames_pb2 as pb

pytestmark = pytest.mark.integration
Start = Callable[[Any], Awaitable[Any]]


async def test_an_agent_is_deployed_and_undeployed_without_a_restart(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        stage.assign(assignment("echo"), generation=1)
        async with running(stage):
            host = stage.attach()
            await until(lambda: stage.gateway.ready == {"echo"})
            stage.assign(assignment("echo"), assignment("sum"), generation=2)
            await until(lambda: stage.gateway.ready == {"echo", "sum"})
            assert (await stage.gateway.call("sum", b"1")).data == b"1"
            stage.assign(assignment("sum"), generation=3)
            await until(lambda: stage.gateway.ready == {"sum"})
            with pytest.raises(NodeUnavailable, match="'echo' is not hosted") as refused:
                await stage.gateway.call("echo")
            assert refused.value.error.delivered == pb.DELIVERED_NO
            assert [found.generation for found in host.assigned] == [1, 2, 3]
            assert len(stage.gateway.hellos) == 1


async def test_new_bounds_hold_at_once_and_gateways_are_told(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        stage.assign(assignment("echo"), concurrency=1, queue_length=5)
        async with running(stage):
            host = stage.attach(answer=None)
            await until(lambda: stage.gateway.ready == {"echo"})
            calls = [stage.gateway.open("echo") for _ in range(3)]
            await until(lambda: len(host.opened) == 1)
            stage.assign(assignment("echo"), generation=2, concurrency=3, queue_length=5)
            await until(lambda: len(host.opened) == 3)
            await until(lambda: stage.gateway.hellos[-1].capacity.concurrency == 3)
            for call in host.opened:
                await echo(call)
            assert [(await call.result()).data for call in calls] == [b"hi"] * 3


async def test_a_new_limit_of_an_agent_lets_in_what_waits_for_it(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        stage.assign(assignment("echo", concurrency=1))
        async with running(stage):
            host = stage.attach(answer=None)
            await until(lambda: stage.gateway.ready == {"echo"})
            for _ in range(3):
                stage.gateway.open("echo")
            await until(lambda: len(host.opened) == 1)
            stage.assign(assignment("echo", concurrency=3), generation=2)
            await until(lambda: len(host.opened) == 3)


async def test_a_call_inside_a_removed_agent_is_finished(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        stage.assign(assignment("echo"))
        async with running(stage):
            host = stage.attach(answer=None)
            await until(lambda: stage.gateway.ready == {"echo"})
            call = stage.gateway.open("echo", b"slow")
            await until(lambda: host.opened)
            stage.assign(generation=2)
            await until(lambda: stage.gateway.ready == set())
            await echo(host.opened[0])
            assert (await call.result()).data == b"slow"


async def test_the_operators_assignments_and_the_files_are_one_the_higher_generation_wins(
    tmp_path: Path, start: Start
) -> None:
    operator = await start(FakeOperator())
    async with staged(tmp_path, registries=(operator.address,)) as stage:
        stage.assign(assignment("echo"), generation=5)
        async with running(stage) as sidecar:
            stage.attach()
            await until(lambda: stage.gateway.ready == {"echo"})
            older = pb.Assignments(generation=4, agents=[assignment("old")])
            newer = pb.Assignments(generation=6, agents=[assignment("new")])
            for assignments in (older, newer):
                operator.outbox.put_nowait(registry_pb2.Directive(assignments=assignments))
            await until(lambda: stage.gateway.ready == {"new"})
            await until(lambda: operator.heartbeats and operator.heartbeats[-1].generation == 6)
            stage.assign(assignment("behind"), generation=5)
            stage.assign(assignment("newest"), generation=7)
            await until(lambda: sidecar.roster.generation == 7)
            await until(lambda: stage.gateway.ready == {"newest"})


async def test_a_broken_file_changes_nothing(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        stage.assign(assignment("echo"))
        async with running(stage) as sidecar:
            stage.attach()
            await until(lambda: stage.gateway.ready == {"echo"})
            stage.settings.assignments_path.write_text("{")
            stage.assign(assignment("echo"), assignment("sum"), generation=2)
            await until(lambda: sidecar.roster.generation == 2)
            assert (await stage.gateway.call("echo")).data == b"hi"


async def test_a_host_that_crashes_comes_back(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        stage.assign(assignment("echo"))
        async with running(stage):
            host = stage.attach(answer=None)
            await until(lambda: stage.gateway.ready == {"echo"})
            call = stage.gateway.open("echo")
            await until(lambda: host.opened)
            await stage.detach(host)
            with pytest.raises(SwitchboardError) as lost:
                await call.result()
            assert (lost.value.error.code, lost.value.error.delivered) == (pb.NODE_UNAVAILABLE, pb.DELIVERED_MAYBE)
            await until(lambda: stage.gateway.ready == set())
            stage.attach()
            await until(lambda: stage.gateway.ready == {"echo"})
            assert (await stage.gateway.call("echo")).data == b"hi"


async def test_a_second_host_takes_over_and_the_first_finishes_its_calls(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        stage.assign(assignment("echo"))
        async with running(stage):
            old = stage.attach(answer=None)
            await until(lambda: stage.gateway.ready == {"echo"})
            call = stage.gateway.open("echo", b"old")
            await until(lambda: old.opened)
            new = stage.attach()
            await until(lambda: new.assigned)
            await until(lambda: stage.gateway.ready == {"echo"})
            assert (await stage.gateway.call("echo", b"new")).data == b"new"
            assert len(new.opened) == 1
            await echo(old.opened[0])
            assert (await call.result()).data == b"old"


async def test_a_failed_agent_is_announced_with_its_reason(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        stage.assign(assignment("echo"), assignment("bad"))
        async with running(stage):
            host = stage.attach()
            host.states["bad"] = pb.HOSTED_FAILED
            await until(lambda: stage.gateway.ready == {"echo"})
            agents = {agent.name: agent for agent in stage.gateway.hosted[-1].agents}
            assert (agents["bad"].state, agents["bad"].message) == (pb.HOSTED_FAILED, "broken")
            assert (await stage.gateway.call("echo")).data == b"hi"


async def test_agents_that_code_registers_fill_handlerless_ones_and_where_dynamic_become_visible(
    tmp_path: Path,
) -> None:
    async with staged(tmp_path) as stage:
        stage.assign(assignment("declared", type="typed", registered=True), generation=1)
        async with running(stage):
            host = stage.attach()
            await until(lambda: host.assigned)
            host.registered = [
                pb.HostedAgent(name="typed", type="typed", state=pb.HOSTED_READY),
                pb.HostedAgent(
                    name="free",
                    type="free",
                    state=pb.HOSTED_READY,
                    description="found in code",
                    capabilities=[pb.Capability(name="sum", version="1.0.0")],
                    topics=[pb.Subscription(topic="news")],
                ),
            ]
            host.say()
            await until(lambda: stage.gateway.ready == {"declared"})
            with pytest.raises(NodeUnavailable):
                await stage.gateway.call("free")
            stage.assign(assignment("declared", type="typed", registered=True), generation=2, dynamic=True)
            await until(lambda: stage.gateway.ready == {"declared", "free"})
            free = next(agent for agent in stage.gateway.hosted[-1].agents if agent.name == "free")
            assert (free.description, free.capabilities[0].name, free.topics[0].topic) == (
                "found in code",
                "sum",
                "news",
            )
            assert (await stage.gateway.call("free")).data == b"hi"


async def test_calls_between_agents_of_the_pod_and_out_of_it(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        stage.assign(assignment("echo"), assignment("sum"))
        async with running(stage):
            host = stage.attach()
            await until(lambda: stage.gateway.ready == {"echo", "sum"})
            assert (await host.call("sum", b"near")).data == b"near"
            assert stage.gateway.opened == []
            source = pb.AgentId(type="echo", key="7")
            assert (await host.call("far", b"away", source=source, chain=["echo/7"])).data == b"away"
            (opened,) = stage.gateway.opened
            assert opened.first.open.source == pb.AgentId(namespace="ns", type="echo", key="7")
            assert (list(opened.first.open.chain), opened.first.open.hops) == (["echo/7"], 1)


async def test_large_payloads_and_streams_pass_in_both_directions(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        stage.assign(assignment("echo"))
        async with running(stage) as sidecar:
            stage.attach()
            await until(lambda: stage.gateway.ready == {"echo"})
            data = bytes(range(256)) * 12_000
            assert (await stage.gateway.call("echo", data)).data == data
            call = stage.gateway.open("echo", b"a", end=False)
            for piece in (b"b", b"c"):
                await call.send(piece)
            call.half_close()
            assert (await call.result()).data == b"abc"
            assert sidecar.deliverer.busy == 0


async def test_a_host_that_hangs_is_reported_not_ready_and_its_call_ends(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        stage.assign(assignment("echo"))
        async with running(stage) as sidecar:
            host = stage.attach(None)
            await until(lambda: stage.gateway.ready == {"echo"})
            call = stage.gateway.open("echo")
            await until(lambda: host.opened)
            assert isinstance(host.peer, SocketPeer)
            host.peer.pause()  # nothing leaves it any more, not even a ping
            with pytest.raises(SwitchboardError, match="silent for") as lost:
                await call.result()
            assert lost.value.error.delivered == pb.DELIVERED_MAYBE
            await until(lambda: stage.gateway.ready == set())
            assert sidecar.why_not_ready() == "no host is connected"
