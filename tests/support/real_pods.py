"""Pods and tokens of a real API server, a gateway that checks them, and the pods' sidecars in this process."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from operator_process import StartOperator, agent, agent_node, eventually
from prometheus_client import CollectorRegistry
from sidecar_ends import assignment, write_assignments

from switchboard_gateway.cluster_directory import ClusterDirectory
from switchboard_gateway.core import Core
from switchboard_gateway.links import LinkRules, LinkServer
from switchboard_gateway.metrics import GatewayMetrics
from switchboard_identity.building import build_gatekeeper
from switchboard_identity.settings import IdentitySettings
from switchboard_kube import AGENT_NODES, AGENTS, PODS, Conflict, Json, Kube, Resource, Selector
from switchboard_kube.client import ApiServer
from switchboard_sidecar.settings import Settings
from switchboard_sidecar.sidecar import Sidecar
from switchboard_wire import names

NODES = Resource("", "v1", "Node", "nodes", namespaced=False)
CHECKED = IdentitySettings(checks=True)


def own_address() -> str:
    """An address of this machine that a pod may have: the API server refuses loopback ones."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("198.51.100.1", 9))  # nothing is sent
        except OSError:
            pytest.skip("this machine has no address but loopback")
        return str(probe.getsockname()[0])


async def pod_of(kube: Kube, namespace: str, node: str, address: str) -> Json:
    """A running pod of an AgentNode, as scheduler and kubelet would have it."""
    with contextlib.suppress(Conflict):
        await kube.create(NODES, {"metadata": {"name": "node-1"}})
    found = await eventually(
        lambda: kube.list(PODS, Selector(namespace, f"{names.NODE_LABEL}={node}")), lambda pods: bool(pods.items)
    )
    pod = found.items[0]
    name = pod["metadata"]["name"]
    binding = Resource("", "v1", "Binding", f"pods/{name}/binding")
    metadata = {"name": name, "namespace": namespace}
    await kube.create(binding, {"metadata": metadata, "target": {"kind": "Node", "name": "node-1"}})
    status: Json = {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]}
    status["conditions"] = [{"type": "Ready", "status": "True"}]
    await kube.patch_status(PODS, name, namespace, status)
    return pod


async def token_of(kube: Kube, pod: Json, audience: str = names.TOKEN_AUDIENCE) -> str:
    """A token bound to the pod, as kubelet asks for it."""
    metadata = pod["metadata"]
    account = pod["spec"]["serviceAccountName"]
    resource = Resource("", "v1", "TokenRequest", f"serviceaccounts/{account}/token")
    bound = {"kind": "Pod", "apiVersion": "v1", "name": metadata["name"], "uid": metadata["uid"]}
    spec = {"audiences": [audience], "expirationSeconds": 3600, "boundObjectRef": bound}
    made = await kube.create(resource, {"metadata": {"namespace": metadata["namespace"]}, "spec": spec})
    return str(made["status"]["token"])


@contextlib.asynccontextmanager
async def sidecar_of(pod: Json, token: str, folder: Path, **changes: Any) -> AsyncIterator[Sidecar]:
    """The pod's sidecar in this process."""
    folder.mkdir(exist_ok=True)
    (folder / "token").write_text(token)
    if not (folder / "assignments.json").exists():
        write_assignments(folder / "assignments.json", assignment(http={"port": 1}))
    metadata = pod["metadata"]
    settings = Settings(
        namespace=metadata["namespace"],
        node=metadata["labels"][names.NODE_LABEL],
        instance=metadata["name"],
        pod_uid=metadata["uid"],
        socket_path=folder / "host.sock",
        assignments_path=folder / "assignments.json",
        token_path=folder / "token",
        ops_port=None,
        **changes,
    )
    sidecar, stop = Sidecar(settings), asyncio.Event()
    task = asyncio.create_task(sidecar.run(stop))
    try:
        yield sidecar
    finally:
        stop.set()
        await task


@dataclass
class Gateway:
    """A gateway's links and what it knows of the cluster."""

    core: Core
    directory: ClusterDirectory
    address: str


@contextlib.asynccontextmanager
async def gateway_on(
    api: ApiServer, namespace: str, host: str, settings: IdentitySettings = CHECKED
) -> AsyncIterator[Gateway]:
    """A gateway that knows the namespace, and lets pods in as the settings say."""
    core = Core(namespace, GatewayMetrics.create(CollectorRegistry()))
    directory = ClusterDirectory(api, core, (namespace,), "", "switchboard-system")
    watching = asyncio.create_task(directory.run())
    gate = build_gatekeeper(settings, api, directory.membership, core.metrics.count_reviews("pods"))
    try:
        async with LinkServer(core, LinkRules("gateway-1", gate)).serve(host, 0) as port:
            yield Gateway(core, directory, f"{host}:{port}")
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


@pytest.fixture
async def pod(kube: Kube, namespace: str, start_operator: StartOperator) -> Json:
    """The one pod of AgentNode `writers`, which has this machine's address."""
    start_operator()
    await kube.create(AGENT_NODES, agent_node(namespace))
    await kube.create(AGENTS, agent(namespace, "summarizer", nodeRef={"name": "writers"}))
    return await pod_of(kube, namespace, "writers", own_address())
