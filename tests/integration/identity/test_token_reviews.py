"""Pods' tokens by TokenReview of a real API server, at a gateway's links and at the Registry."""

import asyncio
import contextlib
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from faulty_api import FaultyApi, faulty_api
from operator_process import OperatorProcess, StartOperator, agent_node, eventually
from real_pods import CHECKED, Gateway, gateway_on, own_address, pod_of, sidecar_of, token_of
from sidecar_ends import until

from switchboard_identity import building
from switchboard_identity.settings import IdentitySettings
from switchboard_kube import AGENT_NODES, PODS, SERVICE_ACCOUNTS, Json, Kube, Resource, connect
from switchboard_wire import names

pytestmark = pytest.mark.integration

REVIEWED = IdentitySettings(checks=True, reviews=True)
# Where an API server tells of the keys of its tokens
KEYS = ("/openid/", "/.well-known/")


@contextlib.asynccontextmanager
async def proxied(
    server: Path, folder: Path, namespace: str, settings: IdentitySettings = REVIEWED, host: str = ""
) -> AsyncIterator[tuple[FaultyApi, Gateway]]:
    """A gateway whose API server can be made to fail, and publishes no keys."""
    async with (
        faulty_api(server, folder) as proxy,
        connect(kubeconfig=str(proxy.kubeconfig)) as api,
        gateway_on(api, namespace, host or own_address(), settings) as gateway,
    ):
        proxy.forbidden = KEYS
        yield proxy, gateway


def said(caplog: pytest.LogCaptureFixture, words: str) -> bool:
    return any(words in str(getattr(record, "why", "")) for record in caplog.records)


async def test_pods_are_let_in_by_reviews_where_no_keys_can_be_read(
    kube: Kube, namespace: str, server: Path, pod: Json, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    token = await token_of(kube, pod)
    async with proxied(server, tmp_path, namespace, CHECKED) as (_, gateway):
        async with sidecar_of(pod, token, tmp_path / "by-keys", gateways=(gateway.address,)):
            await until(lambda: said(caplog, "keys are not known"))
        assert not gateway.core.table.instances
    async with (
        proxied(server, tmp_path, namespace) as (_, gateway),
        sidecar_of(pod, token, tmp_path / "by-review", gateways=(gateway.address,)) as sidecar,
    ):
        await until(lambda: sidecar.links.live == 1)
        (instance,) = gateway.core.table.instances.values()
        spiffe_id = f"spiffe://cluster.local/ns/{namespace}/sa/writers"
        assert (instance.node, instance.principal) == ("writers", spiffe_id)
        await kube.patch_status(PODS, pod["metadata"]["name"], namespace, {"phase": "Succeeded"})
        await until(lambda: not gateway.core.table.instances)


async def unbound_token(kube: Kube, pod: Json) -> str:
    """A token of the pod's ServiceAccount that is bound to no pod."""
    account, namespace = pod["spec"]["serviceAccountName"], pod["metadata"]["namespace"]
    resource = Resource("", "v1", "TokenRequest", f"serviceaccounts/{account}/token")
    spec = {"audiences": [names.TOKEN_AUDIENCE], "expirationSeconds": 3600}
    made = await kube.create(resource, {"metadata": {"namespace": namespace}, "spec": spec})
    return str(made["status"]["token"])


async def test_a_reviewed_token_is_held_to_the_same_checks(
    kube: Kube, namespace: str, server: Path, pod: Json, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    refused = {
        "for the audience": await token_of(kube, pod, audience="vault"),
        "not bound to a pod": await unbound_token(kube, pod),
        "does not know the token": "eyJhbGciOiJSUzI1NiIsImtpZCI6IngifQ.eyJleHAiOjF9.c2ln",
    }
    async with proxied(server, tmp_path, namespace) as (_, gateway):
        for number, (why, token) in enumerate(refused.items()):
            async with sidecar_of(pod, token, tmp_path / str(number), gateways=(gateway.address,)):
                await until(lambda why=why: said(caplog, why))  # type: ignore[misc]
        assert not gateway.core.table.instances
        assert set(gateway.core.metrics.reviews.values) == {("pods", "token", "no")}
    async with proxied(server, tmp_path, namespace, host="127.0.0.1") as (_, gateway):
        async with sidecar_of(pod, await token_of(kube, pod), tmp_path / "thief", gateways=(gateway.address,)):
            await until(lambda: said(caplog, "from 127.0.0.1"))
        assert not gateway.core.table.instances


async def test_a_revoked_token_ends_its_stream_and_opens_no_other(
    kube: Kube,
    namespace: str,
    server: Path,
    pod: Json,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(building, "AGAIN_S", 0.2)
    token = await token_of(kube, pod)
    async with proxied(server, tmp_path, namespace) as (_, gateway):
        async with sidecar_of(pod, token, tmp_path / "own", gateways=(gateway.address,)) as sidecar:
            await until(lambda: sidecar.links.live == 1)
            # The pod stays in its EndpointSlice, and the token's signature is as good as before
            await kube.delete(SERVICE_ACCOUNTS, pod["spec"]["serviceAccountName"], namespace)
            await until(lambda: not gateway.core.table.instances)
            await until(lambda: said(caplog, "does not know the token"))
        assert gateway.directory.membership.find(pod["metadata"]["uid"]) is not None


async def test_while_no_api_server_answers_known_pods_reconnect_and_others_once_it_does(
    kube: Kube, namespace: str, server: Path, pod: Json, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    known, unknown = await token_of(kube, pod), await token_of(kube, pod)
    async with proxied(server, tmp_path, namespace) as (proxy, gateway):
        async with sidecar_of(pod, known, tmp_path / "a", gateways=(gateway.address,)) as sidecar:
            await until(lambda: sidecar.links.live == 1)
        await until(lambda: not gateway.core.table.instances)
        proxy.status = 503
        proxy.fail_watches()
        async with sidecar_of(pod, known, tmp_path / "a", gateways=(gateway.address,)) as sidecar:
            await until(lambda: sidecar.links.live == 1)
        await until(lambda: not gateway.core.table.instances)
        async with sidecar_of(pod, unknown, tmp_path / "b", gateways=(gateway.address,)) as sidecar:
            await until(lambda: said(caplog, "come again"))
            assert sidecar.links.live == 0
            counted = gateway.core.metrics
            assert counted.reviews.values["pods", "token", "none"] >= 1
            assert counted.refusals.values["link", "NODE_UNAVAILABLE"] >= 1
            proxy.status = 0
            await until(lambda: sidecar.links.live == 1)


async def test_the_registry_reviews_tokens_too(
    kube: Kube, namespace: str, server: Path, start_operator: StartOperator, tmp_path: Path
) -> None:
    async with faulty_api(server, tmp_path) as proxy:
        proxy.forbidden = KEYS
        checks = {names.ENV_CHECK_TOKENS: "true", names.ENV_CHECK_SOURCE: "false", names.ENV_POD_TOKENS: "tokenReview"}
        operator: OperatorProcess = start_operator(**checks, KUBECONFIG=str(proxy.kubeconfig))
        await kube.create(AGENT_NODES, agent_node(namespace))
        pod = await pod_of(kube, namespace, "writers", own_address())
        address = f"127.0.0.1:{operator.registry_port}"
        async with sidecar_of(pod, await token_of(kube, pod), tmp_path / "own", registries=(address,)) as sidecar:
            await until(lambda: sidecar.registry.live == 1)
        other = await token_of(kube, pod, audience="vault")
        async with sidecar_of(pod, other, tmp_path / "other", registries=(address,)) as sidecar:
            await eventually(lambda: _logged(operator, "for the audience"))
            assert sidecar.registry.live == 0
        counted = await asyncio.to_thread(_metrics, operator)
        assert 'switchboard_operator_reviews_total{answer="yes",review="token"}' in counted
        assert 'switchboard_operator_reviews_total{answer="no",review="token"}' in counted
        assert 'switchboard_operator_refusals_total{reason="UNAUTHENTICATED",surface="registry"}' in counted


def _metrics(operator: OperatorProcess) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{operator.ops_port}/metrics", timeout=60) as response:
        return str(response.read().decode())


async def _logged(operator: OperatorProcess, words: str) -> bool:
    return words in operator.log()
