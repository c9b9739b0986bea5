"""A real gateway, sidecar and host beside the fake ones: how soon a new Agent on a warm AgentNode answers."""

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator
from typing import Final

from bench.fleet import agent, write_lists
from bench.processes import free_port
from bench.surroundings import ROOT, Plane
from switchboard import Client, SwitchboardError
from switchboard_gateway import settings as gateway
from switchboard_kube import PODS, Kube, Selector
from switchboard_wire import names

POOL: Final = "warm"
# Shorter than what is measured by two orders
TRY_AGAIN_S: Final = 0.005
ANSWER_S: Final = 60.0


@contextlib.asynccontextmanager
async def warm_pool(plane: Plane, kube: Kube, namespace: str, registry: str) -> AsyncIterator[str]:
    """A pool of one instance, whose pod is a fake and whose sidecar and host are real; yields the gateway's address."""
    grpc, links = free_port(), free_port()
    folder = plane.folder
    ports = {
        gateway.ENV_BIND: "127.0.0.1",
        gateway.ENV_GRPC_PORT: str(grpc),
        gateway.ENV_LINKS_PORT: str(links),
        gateway.ENV_HTTP_PORT: str(free_port()),
        gateway.ENV_SESSION_PORT: "0",
        names.ENV_WATCH_NAMESPACES: namespace,
        names.ENV_NAMESPACE: namespace,
    }
    common = {
        names.ENV_SOCKET: str(folder / "host.sock"),
        names.ENV_OPS_PORT: "0",
        names.ENV_LOG_LEVEL: "WARNING",
        names.ENV_LOG_FORMAT: "text",
        names.ENV_CODE: str(ROOT / "bench" / "agents"),
    }
    uid, instance = await _pod(kube, namespace)
    (folder / "assignments.json").write_text("{}")
    pod = {
        names.ENV_NAMESPACE: namespace,
        names.ENV_NODE: POOL,
        names.ENV_INSTANCE: instance,
        names.ENV_POD_UID: uid,
        names.ENV_GATEWAYS: f"127.0.0.1:{links}",
        names.ENV_REGISTRIES: registry,
        names.ENV_ASSIGNMENTS: str(folder / "assignments.json"),
    }
    with contextlib.ExitStack() as stack:
        programs = {"switchboard_gateway": ports, "switchboard_sidecar": pod, "switchboard.host": {}}
        for module, own in programs.items():
            stack.enter_context(plane.process(module, (sys.executable, "-m", module), common | own))
        yield f"127.0.0.1:{grpc}"


async def measure(plane: Plane, namespace: str, address: str, count: int) -> list[float]:
    """Milliseconds from the return of `kubectl apply` of a new Agent to its first answer, of each."""
    taken = []
    async with Client(address, timeout_s=ANSWER_S) as client:
        for number in range(count + 1):
            name = f"warm-{number:03}"
            files = write_lists(plane.folder, name, [agent(namespace, name, POOL)])
            await plane.apply(files)
            taken.append(await _until_answered(client, namespace, name) * 1000)
    return taken[1:]  # the first also waits for gateway, sidecar and host to start


async def _until_answered(client: Client, namespace: str, name: str) -> float:
    began = time.perf_counter()
    while True:
        try:
            await client.request(name, "hello", namespace=namespace)
        except SwitchboardError:
            if time.perf_counter() - began > ANSWER_S:
                raise
            await asyncio.sleep(TRY_AGAIN_S)
        else:
            return time.perf_counter() - began


async def _pod(kube: Kube, namespace: str) -> tuple[str, str]:
    """UID and name of the pool's only pod, once it is there."""
    while True:
        found = await kube.list(PODS, Selector(namespace, labels=f"{names.NODE_LABEL}={POOL}"))
        for pod in found.items:
            return pod["metadata"]["uid"], pod["metadata"]["name"]
        await asyncio.sleep(0.1)
