"""Tokens of a real API server, pods in slices of its controllers, and an operator with its own CA."""

import asyncio
import base64
import ssl
from pathlib import Path

import pytest
from faulty_api import faulty_api
from operator_process import OperatorProcess, StartOperator, agent_node, condition, eventually
from real_pods import gateway_on, own_address, pod_of, sidecar_of, token_of
from sidecar_ends import assignment, until, write_assignments

from switchboard_kube import (
    AGENT_NODES,
    CONFIG_MAPS,
    PODS,
    SECRETS,
    Json,
    Kube,
    connect,
)
from switchboard_wire import names

pytestmark = pytest.mark.integration

OWN = {names.ENV_TLS: "own", names.ENV_CHECK_TOKENS: "true", names.ENV_CHECK_SOURCE: "false"}


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
    for name in ("writers", "paused"):
        await kube.create(AGENT_NODES, agent_node(namespace, name))
    first = bundle_in(await eventually(lambda: kube.get(CONFIG_MAPS, "writers-assignments", namespace)))
    await eventually(lambda: kube.get(CONFIG_MAPS, "paused-assignments", namespace))
    pause = {"metadata": {"annotations": {names.PAUSED_ANNOTATION: "true"}}}
    await kube.patch(AGENT_NODES, "paused", namespace, pause)
    await eventually(lambda: kube.get(AGENT_NODES, "paused", namespace), is_paused, "the pool to be paused")
    await eventually(lambda: _signed(operator, first), lambda signed: signed == [True], "the port to be served")
    annotations = {"metadata": {"annotations": {names.ROTATE_ANNOTATION: "now"}}}
    await kube.patch(SECRETS, "switchboard-ca", namespace, annotations)
    both = await eventually(
        lambda: _bundle(kube, namespace), lambda bundle: bundle != first, "a bundle of the old and the new CA"
    )
    assert first in both
    await eventually(
        lambda: _bundle(kube, namespace, "paused"), lambda bundle: bundle == both, "the pods of a paused pool to know"
    )
    newest = await eventually(
        lambda: _signed(operator, both), lambda signed: signed == [True, False], "a certificate of the new CA"
    )
    assert newest
    assert bundle_in(await kube.get(CONFIG_MAPS, "writers-assignments", namespace)) == both


def is_paused(node: Json) -> bool:
    return condition(node, "Progressing").get("reason") == "Paused"


async def _bundle(kube: Kube, namespace: str, node: str = "writers") -> str:
    return bundle_in(await kube.get(CONFIG_MAPS, f"{node}-assignments", namespace))


async def _signed(operator: OperatorProcess, bundle: str) -> list[bool]:
    try:
        return is_signed_by(await asyncio.to_thread(served_certificate, operator), bundle)
    except OSError:  # not served yet
        return []
