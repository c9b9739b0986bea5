"""Tokens of a real API server, pods in slices of its controllers, and an operator with its own CA."""

import asyncio
import base64
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from faulty_api import faulty_api
from operator_process import OperatorProcess, StartOperator, agent, agent_node, eventually
from prometheus_client import CollectorRegistry
from sidecar_ends import assignment, until, write_assignments

from switchboard_gateway.cluster_directory import ClusterDirectory
from switchboard_gateway.core import Core
from switchboard_gateway.links import LinkRules, LinkServer
from switchboard_gateway.metrics import GatewayMetrics
from switchboard_identity.building import build_gatekeeper
from switchboard_identity.settings import IdentitySettings
from switchboard_kube import (
    AGENT_NODES,
    AGENTS,
    CONFIG_MAPS,
    PODS,
    SECRETS,
    Conflict,
    Json,
    Kube,
    Resource,
    Selector,
    connect,
)
from switchboard_kube.client import ApiServer
from switchboard_sidecar.settings import Settings
from switchboard_sidecar.sidecar import Sidecar
from switchboard_wire import names

pytestmark = pytest.mark.integration

NODES = Resource("", "v1", "Node", "nodes", namespaced=False)
OWN = {names.ENV_TLS: "own", names.ENV_CHECK_TOKENS: "true", names.ENV_CHECK_SOURCE: "false"}


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
async def gateway_on(api: ApiServer, namespace: str, host: str) -> AsyncIterator[Gateway]:
    core = Core(namespace, GatewayMetrics.create(CollectorRegistry()))
    directory = ClusterDirectory(api, core, (namespace,), "", "switchboard-system")
    watching = asyncio.create_task(directory.run())
    gate = build_gatekeeper(IdentitySettings(checks=True), api, directory.membership)
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


async def test_a_pods_own_token_is_let_in_and_no_other(
    kube: Kube, namespace: str, server: Path, pod: Json, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def refused(why: str) -> bool:
        return any(why in str(getattr(record, "why", "")) for record in caplog.records)

    host = own_address()
    async with connect(kubeconfig=str(server)) as api, gateway_on(api, namespace, host) as gateway:
        other = await token_of(kube, pod, audience="https://kubernetes.default.svc")
        async with sidecar_of(pod, other, tmp_path / "other", gateways=(gateway.address,)):
            await until(lambda: refused("Audience"))
        token = await token_of(kube, pod)
        async with sidecar_of(pod, token, tmp_path / "own", gateways=(gateway.address,)) as sidecar:
            await until(lambda: sidecar.links.live == 1)
            (instance,) = gateway.core.table.instances.values()
            assert (instance.node, instance.principal) == (
                "writers",
                f"spiffe://cluster.local/ns/{namespace}/sa/writers",
            )
            # As kubelet tells of a pod that has ended; without one, a deleted pod stays
            await kube.patch_status(PODS, pod["metadata"]["name"], namespace, {"phase": "Succeeded"})
            await until(lambda: not gateway.core.table.instances)


async def test_a_stolen_token_is_refused_from_another_address(
    kube: Kube, namespace: str, server: Path, pod: Json, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with connect(kubeconfig=str(server)) as api, gateway_on(api, namespace, "127.0.0.1") as gateway:
        async with sidecar_of(pod, await token_of(kube, pod), tmp_path / "thief", gateways=(gateway.address,)):
            await until(lambda: any("from 127.0.0.1" in str(getattr(r, "why", "")) for r in caplog.records))
        assert not gateway.core.table.instances


async def test_pods_reconnect_while_no_api_server_answers(
    kube: Kube, namespace: str, server: Path, pod: Json, tmp_path: Path
) -> None:
    host = own_address()
    async with (
        faulty_api(server, tmp_path) as proxy,
        connect(kubeconfig=str(proxy.kubeconfig)) as api,
        gateway_on(api, namespace, host) as gateway,
    ):
        token = await token_of(kube, pod)
        async with sidecar_of(pod, token, tmp_path / "a", gateways=(gateway.address,)) as sidecar:
            await until(lambda: sidecar.links.live == 1)
        await until(lambda: not gateway.core.table.instances)
        proxy.status = 503
        proxy.fail_watches()
        async with sidecar_of(pod, token, tmp_path / "a", gateways=(gateway.address,)) as sidecar:
            await until(lambda: sidecar.links.live == 1)
        proxy.status = 0


def bundle_in(config_map: Json) -> str:
    import json

    return str(json.loads(config_map["data"][names.ASSIGNMENTS_FILE]).get("caBundle", ""))


def served_certificate(operator: OperatorProcess) -> bytes:
    """What the Registry's port shows to anybody."""
    return ssl.get_server_certificate(("127.0.0.1", operator.registry_port), timeout=10).encode()


def is_signed_by(certificate: bytes, bundle: str) -> list[bool]:
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature

    leaf, found = x509.load_pem_x509_certificate(certificate), []
    for authority in x509.load_pem_x509_certificates(bundle.encode()):
        try:
            leaf.verify_directly_issued_by(authority)
            found.append(True)
        except (InvalidSignature, ValueError):
            found.append(False)
    return found


async def test_an_operator_with_its_own_ca_tells_pods_whom_to_trust_and_registers_them(
    kube: Kube, namespace: str, start_operator: StartOperator, tmp_path: Path
) -> None:
    operator = start_operator(**OWN)
    await kube.create(AGENT_NODES, agent_node(namespace))
    config_map = await eventually(lambda: kube.get(CONFIG_MAPS, "writers-assignments", namespace))
    bundle = bundle_in(config_map)
    assert "BEGIN CERTIFICATE" in bundle
    secret = await eventually(lambda: kube.get(SECRETS, "switchboard-gateway-tls", namespace))
    assert base64.b64decode(secret["data"]["ca.crt"]).decode() == bundle
    pod = await pod_of(kube, namespace, "writers", own_address())
    environment = {e["name"]: e.get("value") for e in pod["spec"]["initContainers"][0]["env"]}
    assert environment[names.ENV_TLS] == "required"
    write_assignments(tmp_path / "assignments.json", assignment(http={"port": 1}), ca_bundle=bundle)
    address = f"127.0.0.1:{operator.registry_port}"
    token = await token_of(kube, pod)
    async with sidecar_of(pod, token, tmp_path, tls=True, registries=(address,)) as sidecar:
        await until(lambda: sidecar.registry.live == 1)
    stolen = await token_of(kube, pod, audience="vault")
    async with sidecar_of(pod, stolen, tmp_path, tls=True, registries=(address,)) as sidecar:
        await eventually(lambda: _says(operator, "udience"))
        assert sidecar.registry.live == 0


async def _says(operator: OperatorProcess, text: str) -> bool:
    return text in operator.log()


async def test_a_new_ca_is_told_to_pods_before_it_signs(
    kube: Kube, namespace: str, start_operator: StartOperator
) -> None:
    operator = start_operator(**OWN, **{names.ENV_CA_SETTLED: "3"})
    await kube.create(AGENT_NODES, agent_node(namespace))
    first = bundle_in(await eventually(lambda: kube.get(CONFIG_MAPS, "writers-assignments", namespace)))
    await eventually(lambda: _signed(operator, first), lambda signed: signed == [True], "the port to be served")
    annotations = {"metadata": {"annotations": {names.ROTATE_ANNOTATION: "now"}}}
    await kube.patch(SECRETS, "switchboard-ca", namespace, annotations)
    both = await eventually(
        lambda: _bundle(kube, namespace), lambda bundle: bundle != first, "a bundle of the old and the new CA"
    )
    assert first in both
    newest = await eventually(
        lambda: _signed(operator, both), lambda signed: signed == [True, False], "a certificate of the new CA"
    )
    assert newest
    assert bundle_in(await kube.get(CONFIG_MAPS, "writers-assignments", namespace)) == both


async def _bundle(kube: Kube, namespace: str) -> str:
    return bundle_in(await kube.get(CONFIG_MAPS, "writers-assignments", namespace))


async def _signed(operator: OperatorProcess, bundle: str) -> list[bool]:
    try:
        return is_signed_by(await asyncio.to_thread(served_certificate, operator), bundle)
    except OSError:  # not served yet
        return []
