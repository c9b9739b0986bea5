"""A real gateway and a real pod, which outlive every hostile act; during each a polite client must be served."""

import json
import urllib.request
from collections.abc import Iterator

import pytest
from hostile import Bystander, World
from processes import start_gateway, start_pod, stopping, wait_for

AGENTS = """
import asyncio
from switchboard import agent

@agent
async def echo(text: str) -> str:
    return text

@agent
async def large(size: int) -> str:
    return "x" * size

@agent
async def pieces(count: int):
    for _ in range(count):
        yield "x" * 60_000

@agent
async def silent(text: str) -> str:
    await asyncio.Event().wait()  # for ever
    return text
"""
# What hostile clients may add to a process: their streams' credit and buffers, far from what they try to put there. Ten
# thousand connections of HTTP/2 have been seen to add 160 on a busy machine, where more of them live at once
GROWTH_MIB = 400.0
# A polite call takes milliseconds; on a busy machine of two processors, beside a flood, seconds
SLOWEST_S = 60.0


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("hostile")
    with stopping([]) as programs:
        gateway = start_gateway(folder, "gateway")
        programs.append(gateway)
        # The polite client's agent has a pod of its own: who fills an agent's queue fills it for all its callers
        pod = start_pod(folder, "pod-1", gateway.links, AGENTS, ("echo",))
        victims = start_pod(folder, "pod-2", gateway.links, AGENTS, ("large", "pieces", "silent"))
        programs += [pod.sidecar, pod.host, victims.sidecar, victims.host]

        def ready() -> bool:
            with urllib.request.urlopen(f"{gateway.url}/api/v1/agents", timeout=60) as response:
                agents = json.load(response)["agents"]
            return len([agent for agent in agents if agent["instancesReady"]]) == 4

        wait_for(ready, victims.host)
        with Bystander(gateway):
            pass  # code paths are loaded before memory is compared
        yield World(gateway, victims.sidecar, programs)


@pytest.fixture(autouse=True)
def served(world: World) -> Iterator[Bystander]:
    """Whatever the test does: a polite client is answered meanwhile and after it, and no process grows or dies."""
    before = world.rss_mib
    with Bystander(world.gateway) as bystander:
        yield bystander
    assert bystander.faults == []
    assert bystander.slowest_s < SLOWEST_S
    assert all(program.is_alive for program in world.programs)
    grown = {name: round(now - before[name], 1) for name, now in world.rss_mib.items()}
    assert max(grown.values()) < GROWTH_MIB, grown
