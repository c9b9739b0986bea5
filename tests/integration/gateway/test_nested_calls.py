"""Agents that call each other: in one pod, across two pods, and in a loop, over real streams."""

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from sidecar_ends import assignment, running, staged, until

from switchboard.host.process import Host, HostSettings
from switchboard_gateway.core import Core
from switchboard_gateway.links import LinkRules, LinkServer
from switchboard_gateway.metrics import GatewayMetrics
from switchboard_wire.calls import Payload, call_unary
from switchboard_wire.limits import MAX_HOPS
from switchboard_wire.v1 import frames_pb2 as pb

pytestmark = pytest.mark.integration

CODE = """
from switchboard import Context, SwitchboardError

async def ping(depth: int, ctx: Context) -> int:
    return 0 if depth == 0 else (await ctx.request("pong", depth - 1)).value + 1

async def pong(depth: int, ctx: Context) -> int:
    return 0 if depth == 0 else (await ctx.request("ping", depth - 1)).value + 1

async def tick(calls: int, ctx: Context) -> dict:
    return await go_on("tock", calls, ctx)

async def tock(calls: int, ctx: Context) -> dict:
    return await go_on("tick", calls, ctx)

async def go_on(other: str, calls: int, ctx: Context) -> dict:
    try:
        return (await ctx.request(other, calls + 1)).value
    except SwitchboardError as error:
        return {"calls": calls, "code": error.code}
"""


@contextlib.asynccontextmanager
async def gateway() -> AsyncIterator[tuple[Core, str]]:
    core = Core("ns", GatewayMetrics.create(CollectorRegistry()), announced=True)
    async with LinkServer(core, LinkRules("g")).serve("127.0.0.1", 0) as port:
        yield core, f"127.0.0.1:{port}"


@contextlib.asynccontextmanager
async def pod(folder: Path, address: str, *agents: str) -> AsyncIterator[None]:
    """A sidecar and the SDK's host with these agents, one message at a time."""
    folder.mkdir()
    module = f"nested_{folder.name}"
    (folder / f"{module}.py").write_text(CODE)
    stop = asyncio.Event()
    async with staged(folder, gateways=(address,), instance=folder.name, pod_uid=folder.name) as stage:
        found = [assignment(name, python=pb.PythonHandler(entry=f"{module}:{name}"), concurrency=1) for name in agents]
        stage.assign(*found, concurrency=1)
        async with running(stage):
            socket = f"unix:{stage.settings.socket_path}"
            host = asyncio.create_task(Host(socket, HostSettings(folder)).run(stop))
            try:
                yield
            finally:
                stop.set()
                await host
                sys.modules.pop(module, None)


async def ask(core: Core, type_: str, number: int) -> object:
    open_ = pb.Open(target=pb.Target(type=type_), deadline_ms=60_000)
    close = await call_unary(core.attach_local("test"), open_, Payload(str(number).encode(), "application/json"))
    return json.loads(close.data)


def calls_at_gateway(core: Core) -> int:
    return int(sum(core.metrics.calls.values.values()))


async def test_a_call_to_an_agent_of_the_same_pod_does_not_leave_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path / "one"))
    async with gateway() as (core, address), pod(tmp_path / "one", address, "ping", "pong"):
        await until(lambda: {("ns", "ping"), ("ns", "pong")} <= core.table.routes.keys() and room(core, 1))
        assert await ask(core, "ping", 4) == 4
        assert calls_at_gateway(core) == 1  # the four nested ones stayed in the pod


async def test_a_b_a_across_pods_with_one_message_at_a_time_does_not_deadlock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("one", "two"):
        monkeypatch.syspath_prepend(str(tmp_path / name))
    async with (
        gateway() as (core, address),
        pod(tmp_path / "one", address, "ping"),
        pod(tmp_path / "two", address, "pong"),
    ):
        await until(lambda: room(core, 2))
        assert await ask(core, "ping", 4) == 4
        assert calls_at_gateway(core) == 5
        assert await asyncio.gather(*(ask(core, "ping", 2) for _ in range(10))) == [2] * 10


async def test_a_loop_of_two_pods_ends_at_the_hop_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("one", "two"):
        monkeypatch.syspath_prepend(str(tmp_path / name))
    async with (
        gateway() as (core, address),
        pod(tmp_path / "one", address, "tick"),
        pod(tmp_path / "two", address, "tock"),
    ):
        await until(lambda: room(core, 2))
        found = await ask(core, "tick", 0)
        assert isinstance(found, dict)
        assert found["code"] == "ROUTING_ERROR"
        assert 2 < found["calls"] < MAX_HOPS


def room(core: Core, instances: int) -> bool:
    """Whether so many instances are there and all of their agents are ready."""
    found = list(core.table.instances.values())
    return len(found) == instances and all(len(i.hosted) == len(i.all_hosted) > 0 for i in found)
