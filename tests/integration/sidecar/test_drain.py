"""The drain, as kubelet runs it: both preStops in parallel, then SIGTERM."""

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sidecar_ends import PATIENCE_S, assignment, echo, running, staged, until

from switchboard_sidecar.drain import QUIET_S
from switchboard_wire import names
from switchboard_wire.errors import NodeUnavailable
from switchboard_wire.v1 import frames_pb2 as pb

pytestmark = pytest.mark.integration


async def http_get(url: str) -> tuple[int, str]:
    """One GET without a client library: status and body."""
    host, _, path = url.removeprefix("http://").partition("/")
    name, _, port = host.partition(":")
    reader, writer = await asyncio.open_connection(name, int(port))
    writer.write(f"GET /{path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    return int(head.split()[1]), body.decode()


async def test_a_drain_serves_what_is_on_its_way_then_refuses_and_waits_for_the_rest(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        stage.assign(assignment("echo"), drain_ms=60_000)
        async with running(stage) as sidecar:
            host = stage.attach(answer=None)
            await until(lambda: stage.gateway.ready == {"echo"})
            slow = stage.gateway.open("echo", b"slow")
            await until(lambda: host.opened)
            host.answer = echo
            began = time.monotonic()
            sidecar.drainer._clock = lambda: began  # however slow this machine is: no second passes, but by its clock
            waiting = asyncio.ensure_future(http_get(f"{stage.ops}/drain"))
            draining = asyncio.ensure_future(stage.drain())
            await until(lambda: any(frame.kind == pb.GOAWAY for frame in stage.gateway.controls))
            assert await http_get(f"{stage.ops}/readyz") == (503, "draining\n")
            assert (await stage.gateway.call("echo", b"on its way")).data == b"on its way"
            sidecar.drainer._clock = lambda: time.monotonic() + QUIET_S
            await until(lambda: sidecar.drainer.gate() is not None)
            with pytest.raises(NodeUnavailable, match="draining") as refused:
                await stage.gateway.call("echo")
            assert refused.value.error.delivered == pb.DELIVERED_NO
            assert not draining.done()
            assert not waiting.done()
            await echo(host.opened[0])
            assert (await slow.result()).data == b"slow"
            assert await draining == 0
            assert await waiting == (200, "drained\n")


async def test_the_running_calls_of_a_draining_host_may_still_call(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        stage.assign(assignment("echo"), assignment("sum"), drain_ms=60_000)
        async with running(stage) as sidecar:
            host = stage.attach(answer=None)
            await until(lambda: stage.gateway.ready == {"echo", "sum"})
            slow = stage.gateway.open("echo", b"slow")
            await until(lambda: host.opened)
            draining = asyncio.ensure_future(stage.drain())
            await until(lambda: sidecar.drainer.is_draining and sidecar.drainer.gate() is not None)
            host.answer = echo
            assert (await host.call("sum", b"near")).data == b"near"
            assert (await host.call("far", b"far")).data == b"far"
            await echo(host.opened[0])
            await slow.result()
            assert await draining == 0


async def test_a_drain_ends_when_its_time_is_over(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        stage.assign(assignment("echo"), drain_ms=200)
        async with running(stage):
            host = stage.attach(answer=None)
            await until(lambda: stage.gateway.ready == {"echo"})
            stage.gateway.open("echo")
            await until(lambda: host.opened)
            assert await stage.drain() == 1


async def test_the_hosts_prestop_returns_when_no_drain_began(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage, running(stage):
        began = time.monotonic()
        assert await http_get(f"{stage.ops}{names.DRAIN_PATH}") == (200, "no drain\n")
        assert time.monotonic() - began >= 1.9


@contextlib.asynccontextmanager
async def process(environment: dict[str, str], *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """`python -m switchboard_sidecar` while the context is open."""
    started = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "switchboard_sidecar", *arguments, env=environment, stderr=asyncio.subprocess.PIPE
    )
    try:
        yield started
    finally:
        if started.returncode is None:
            started.kill()
        await started.communicate()


async def test_as_processes_serve_prestop_drain_sigterm(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        stage.assign(assignment("echo"), drain_ms=360_000)
        environment = {
            **os.environ,
            names.ENV_SOCKET: str(stage.settings.socket_path),
            names.ENV_ASSIGNMENTS: str(stage.settings.assignments_path),
            names.ENV_GATEWAYS: stage.gateway.address,
            names.ENV_OPS_PORT: "0",
        }
        async with process(environment) as serving:
            host = stage.attach(redials=True)
            await until(lambda: stage.gateway.ready == {"echo"})
            assert (await stage.gateway.call("echo")).data == b"hi"
            async with process(environment, "drain") as prestop:
                _, said = await prestop.communicate()
                assert (prestop.returncode, said) == (0, b"drained\n")
            await stage.detach(host)
            serving.send_signal(signal.SIGTERM)
            async with asyncio.timeout(PATIENCE_S):  # a third of the time that a drain may take
                _, logs = await serving.communicate()
            assert serving.returncode == 0
            assert b'"message": "drain complete"' in logs
            assert b"Traceback" not in logs
        async with process(environment, "drain") as again:
            assert await again.wait() == 0


async def test_sigterm_without_a_prestop_drains_first(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        stage.assign(assignment("echo"), drain_ms=60_000)
        async with running(stage) as sidecar:
            host = stage.attach(answer=None)
            await until(lambda: stage.gateway.ready == {"echo"})
            slow = stage.gateway.open("echo", b"slow")
            await until(lambda: host.opened)
            stage.stop.set()
            await until(lambda: sidecar.drainer.is_draining)
            await echo(host.opened[0])
            assert (await slow.result()).data == b"slow"
            await until(lambda: sidecar.drainer.is_done)
