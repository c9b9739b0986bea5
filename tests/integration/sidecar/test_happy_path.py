"""A gateway, a sidecar, a host: joined by real gRPC on loopback and a unix socket."""

import asyncio
import stat
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from sidecar_ends import assignment, echo, running, staged, until

from switchboard_wire.v1 import frames_pb2 as pb

pytestmark = pytest.mark.integration


def get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=30) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


async def fetch(url: str) -> tuple[int, str]:
    return await asyncio.to_thread(get, url)


async def test_a_call_goes_through_to_the_host_and_back(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        stage.assign(assignment("echo"), concurrency=4, queue_length=7)
        async with running(stage):
            host = stage.attach()
            await until(lambda: stage.gateway.ready == {"echo"})
            close = await stage.gateway.call("echo", b"hello", agent="echo")
            assert (close.data, close.content_type, close.processing_us) == (b"hello", "text/plain", 5)
            hello = stage.gateway.hellos[0]
            assert (hello.namespace, hello.node, hello.instance, hello.pod_uid) == (
                "ns",
                "writers",
                "writers-1",
                "uid-1",
            )
            assert (hello.capacity.concurrency, hello.capacity.queue) == (4, 7)
            assert [agent.python.entry for agent in host.assigned[0].agents] == ["app:echo"]
            mode = stat.S_IMODE(stage.settings.socket_path.stat().st_mode)
            assert mode == 0o666


async def test_ready_means_assignments_applied_and_host_loaded_never_a_gateway(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        await stage.gateway.stop()
        async with running(stage) as sidecar:
            assert await fetch(f"{stage.ops}/readyz") == (503, "no assignments yet\n")
            stage.assign(assignment("echo"))
            await until(lambda: sidecar.roster.generation == 1)
            assert await fetch(f"{stage.ops}/readyz") == (503, "no host is connected\n")
            host = stage.attach()
            host.states["echo"] = pb.HOSTED_LOADING
            await until(lambda: len(host.assigned) == 1 and sidecar.roster.by_name["echo"].message == "")
            assert await fetch(f"{stage.ops}/readyz") == (503, "the host is loading its agents\n")
            host.states["echo"] = pb.HOSTED_FAILED
            host.say()
            await until(lambda: sidecar.why_not_ready() is None)
            assert await fetch(f"{stage.ops}/readyz") == (200, "ok\n")
            assert (await fetch(f"{stage.ops}/livez"))[0] == 200
            await stage.detach(host)
            await until(lambda: sidecar.why_not_ready() == "no host is connected")


async def test_metrics_count_calls_by_agent_and_code(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        stage.assign(assignment("echo"))
        async with running(stage):
            stage.attach()
            await until(lambda: stage.gateway.ready == {"echo"})
            for _ in range(3):
                await stage.gateway.call("echo")
            status, text = await fetch(f"{stage.ops}/metrics")
            assert status == 200
            assert 'switchboard_sidecar_calls_total{agent="echo",code="OK"} 3.0' in text
            assert 'switchboard_sidecar_processing_seconds_count{agent="echo"} 3.0' in text
            assert "switchboard_sidecar_links 1.0" in text
            assert "switchboard_sidecar_hosts 1.0" in text
            assert "switchboard_sidecar_in_flight 0.0" in text


async def test_two_calls_with_one_idempotency_key_are_handled_once_over_whichever_link_they_come(
    tmp_path: Path,
) -> None:
    async with staged(tmp_path) as stage:
        stage.assign(assignment("echo"))
        async with running(stage):
            host = stage.attach(None)
            await until(lambda: stage.gateway.ready == {"echo"})
            first, second = (stage.gateway.open("echo", idempotency_key="report-17") for _ in range(2))
            await until(lambda: host.opened)
            first.cancel()  # its caller leaves; the other one still waits
            await echo(host.opened[0])
            assert (await second.result()).data == b"hi"
            stage.gateway.peer.lose("the link breaks")
            await until(lambda: len(stage.gateway.hellos) == 2)
            again = await stage.gateway.open("echo", idempotency_key="report-17").result()
            assert (again.data, again.processing_us, len(host.opened)) == (b"hi", 5, 1)
            _, metrics = await fetch(f"{stage.ops}/metrics")
            assert 'switchboard_sidecar_duplicates_total{agent="echo",how="joined"} 1.0' in metrics
            assert 'switchboard_sidecar_duplicates_total{agent="echo",how="remembered"} 1.0' in metrics
            assert "switchboard_sidecar_answers_remembered 1.0" in metrics
