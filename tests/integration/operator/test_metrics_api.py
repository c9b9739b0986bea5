"""The metrics APIs behind a real API server's aggregation layer, and a real autoscaler that reads them."""

import asyncio
import contextlib
import os
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from fake_sidecar import Sidecar, pods_of
from faulty_api import faulty_api
from operator_process import OperatorProcess, StartOperator, agent_node, condition, eventually
from ports import free_port

from switchboard_kube import (
    AGENT_NODES,
    API_SERVICES,
    HORIZONTAL_AUTOSCALERS,
    NAMESPACES,
    PODS,
    SERVICES,
    ApiError,
    Forbidden,
    Json,
    Kube,
    NotFound,
    Resource,
    Unavailable,
    connect,
)
from switchboard_operator.metrics_api.documents import VERSIONS
from switchboard_wire import names

pytestmark = pytest.mark.integration

SLICES = Resource("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices")
CUSTOM = "/apis/custom.metrics.k8s.io/v1beta2"
EXTERNAL = "/apis/external.metrics.k8s.io/v1beta1"


def own_address() -> str:
    """An address of this machine that is not its loopback: EndpointSlices hold no other."""
    with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as probe:
        probe.connect(("192.0.2.1", 9))  # sends nothing
        address: str = probe.getsockname()[0]
        return address


async def publish(kube: Kube, namespace: str, port: int) -> None:
    """The Service, its one endpoint and the APIServices, as the chart and the cluster make them."""
    called = {"name": names.METRICS_SERVICE, "namespace": namespace}
    ports = [{"name": "metrics-api", "port": names.METRICS_API_PORT, "targetPort": port}]
    await kube.create(SERVICES, {"metadata": called, "spec": {"ports": ports}})
    endpoint = {"addresses": [own_address()], "conditions": {"ready": True}}
    labels = {"kubernetes.io/service-name": names.METRICS_SERVICE}
    found = {"addressType": "IPv4", "endpoints": [endpoint], "ports": [{"name": "metrics-api", "port": port}]}
    await kube.create(SLICES, {"metadata": {**called, "labels": labels}, **found})
    for group, version in VERSIONS.items():
        service = {**called, "port": names.METRICS_API_PORT}
        spec = {"group": group, "version": version, "groupPriorityMinimum": 100, "versionPriority": 100}
        await kube.apply(
            API_SERVICES,
            {
                "apiVersion": API_SERVICES.api_version,
                "kind": API_SERVICES.kind,
                "metadata": {"name": f"{version}.{group}"},
                "spec": {**spec, "service": service},
            },
        )


@contextlib.asynccontextmanager
async def published(
    kube: Kube, namespace: str, start_operator: StartOperator, **environment: str
) -> AsyncIterator[OperatorProcess]:
    """An operator whose metrics APIs the API server has found to be available."""
    port = free_port()
    environment |= {names.ENV_METRICS_APIS: "custom,external", "SWITCHBOARD_METRICS_PORT": str(port)}
    await publish(kube, namespace, port)
    process = start_operator(**environment)
    try:
        for group, version in VERSIONS.items():
            name = f"{version}.{group}"
            await eventually(lambda name=name: kube.get(API_SERVICES, name), is_available, f"APIService {name}")
        yield process
    finally:
        for group, version in VERSIONS.items():
            await kube.delete(API_SERVICES, f"{version}.{group}")


@pytest.fixture
async def operator(kube: Kube, namespace: str, start_operator: StartOperator) -> AsyncIterator[OperatorProcess]:
    """One that is never kept waiting by the API server."""
    async with published(kube, namespace, start_operator) as process:
        yield process


def is_available(api_service: Json) -> bool:
    return condition(api_service, "Available").get("status") == "True"


def raw(kube: Kube, path: str) -> Callable[[], "asyncio.Future[Json]"]:
    """`kubectl get --raw`."""
    return lambda: kube.raw_get(path)  # type: ignore[attr-defined, no-any-return]


async def make_ready(kube: Kube, pod: Json, address: str) -> None:
    """What kubelet says of a pod that runs."""
    conditions = [{"type": "Ready", "status": "True"}]
    status = {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}], "conditions": conditions}
    await kube.patch_status(PODS, pod["metadata"]["name"], pod["metadata"]["namespace"], status)


@contextlib.asynccontextmanager
async def speaking(kube: Kube, namespace: str, operator: OperatorProcess, count: int) -> AsyncIterator[list[Sidecar]]:
    """Ready pods of `writers` whose sidecars speak."""
    pods = await pods_of(kube, namespace, count)
    speakers = [Sidecar(pod, "writers") for pod in pods]
    for number, (pod, speaker) in enumerate(zip(pods, speakers, strict=True), 1):
        speaker.speak(operator.registry_port)
        await make_ready(kube, pod, f"10.1.0.{number}")
    try:
        yield speakers
    finally:
        for speaker in speakers:
            await speaker.fall_silent()


def values_of(answer: dict[str, Any]) -> dict[str, str]:
    return {item["describedObject"]["name"]: item["value"] for item in answer["items"]}


async def test_a_pod_s_work_is_read_through_the_api_server(
    kube: Kube, namespace: str, operator: OperatorProcess
) -> None:
    await kube.create(AGENT_NODES, agent_node(namespace, replicas=2))
    async with speaking(kube, namespace, operator, 2) as (first, second):
        first.beat.load.in_flight, second.beat.load.in_flight = 3, 4
        path = f"{CUSTOM}/namespaces/{namespace}/pods/*/in_flight"
        wanted = {first.name: "3", second.name: "4"}
        await eventually(raw(kube, path), lambda answer: values_of(answer) == wanted, "each pod's number")
        pool = f"{CUSTOM}/namespaces/{namespace}/agentnodes.switchboard.dev/writers/in_flight"
        await eventually(raw(kube, pool), lambda answer: answer["items"][0]["value"] == "7", "the sum of the pool")
        outside = f"{EXTERNAL}/namespaces/{namespace}/switchboard_in_flight?labelSelector=agentnode%3Dwriters"
        assert (await raw(kube, outside)())["items"][0]["value"] == "7"
        await kube.patch(AGENT_NODES, "writers", namespace, {"spec": {"concurrency": 7}})
        share = f"{CUSTOM}/namespaces/{namespace}/agentnodes.switchboard.dev/writers/saturation"
        await eventually(raw(kube, share), lambda answer: answer["items"][0]["value"] == "500m", "the new concurrency")
        with pytest.raises(NotFound, match="in_flight, queued"):
            await raw(kube, f"{CUSTOM}/namespaces/{namespace}/pods/*/cpu")()


async def test_an_autoscaler_follows_the_work(kube: Kube, namespace: str, operator: OperatorProcess) -> None:
    bounds = {"minReplicas": 1, "maxReplicas": 5, "cpuUtilization": 0, "memoryUtilization": 0, "inFlightPerInstance": 4}
    await kube.create(AGENT_NODES, agent_node(namespace, autoscaling=bounds))
    async with speaking(kube, namespace, operator, 1) as (only,):
        only.beat.load.in_flight = 10
        node = await eventually(
            lambda: kube.get(AGENT_NODES, "writers", namespace), lambda held: held["spec"]["replicas"] == 3, "3 wanted"
        )
        assert condition(node, "Accepted")["status"] == "True"
        await pods_of(kube, namespace, 3)
        scaler = await kube.get(HORIZONTAL_AUTOSCALERS, "writers", namespace)
        assert condition(scaler, "ScalingActive")["status"] == "True"


async def test_an_autoscaler_reads_the_external_api_where_the_custom_one_is_another_s(
    kube: Kube, namespace: str, operator: OperatorProcess, start_operator: StartOperator
) -> None:
    operator.stop()
    operator.env[names.ENV_METRICS_APIS] = "external"
    operator.start()
    bounds = {"minReplicas": 1, "maxReplicas": 5, "cpuUtilization": 0, "memoryUtilization": 0, "inFlightPerInstance": 4}
    await kube.create(AGENT_NODES, agent_node(namespace, autoscaling=bounds))
    async with speaking(kube, namespace, operator, 1) as (only,):
        only.beat.load.in_flight = 7
        await eventually(
            lambda: kube.get(AGENT_NODES, "writers", namespace), lambda held: held["spec"]["replicas"] == 2, "2 wanted"
        )


async def test_a_namespace_deleted_while_nobody_serves_goes_when_somebody_does(
    kube: Kube, operator: OperatorProcess
) -> None:
    doomed = f"doomed-{os.getpid()}"
    operator.kill()
    name = "v1beta2.custom.metrics.k8s.io"
    await eventually(lambda: kube.get(API_SERVICES, name), lambda held: not is_available(held), "the API to be missed")
    await kube.create(NAMESPACES, {"metadata": {"name": doomed}})
    await kube.delete(NAMESPACES, doomed)
    # An API that is down may have objects in the namespace, for all that anybody knows: it is not deleted meanwhile
    await eventually(
        lambda: kube.get(NAMESPACES, doomed),
        lambda held: condition(held, "NamespaceDeletionDiscoveryFailure").get("status") == "True",
        "the namespace to wait for the API",
    )
    operator.start()
    await eventually(lambda: kube.get(API_SERVICES, name), is_available, "the API to be back")

    async def gone() -> bool:
        try:
            await kube.get(NAMESPACES, doomed)
        except NotFound:
            return True
        return False

    await eventually(gone, what="the namespace to go")


async def test_who_may_not_read_metrics_is_refused_by_the_api_server(
    server: Path, namespace: str, operator: OperatorProcess
) -> None:
    async with connect(kubeconfig=str(server)) as mallory:
        mallory._api.set_default_header("Impersonate-User", "mallory")
        mallory._api.set_default_header("Impersonate-Group", "system:authenticated")
        with pytest.raises(Forbidden, match="mallory"):
            await mallory.raw_get(f"{CUSTOM}/namespaces/{namespace}/pods/*/in_flight")
        # What there is to be asked for is no secret to who may ask the API server at all
        assert (await mallory.raw_get(CUSTOM))["kind"] == "APIResourceList"


async def test_nobody_is_believed_who_comes_past_the_api_server(server: Path, operator: OperatorProcess) -> None:
    url = f"https://{own_address()}:{operator.env['SWITCHBOARD_METRICS_PORT']}{CUSTOM}"
    headers = {"X-Remote-User": "admin", "X-Remote-Group": "system:masters"}
    pki = server.parent
    async with aiohttp.ClientSession() as session:
        async with session.get(url, headers=headers, ssl=trusting_with(None)) as answer:
            assert (answer.status, (await answer.json())["reason"]) == (401, "Unauthorized")
        # A certificate that the cluster's other CA has signed, the one for people
        foreign = trusting_with(pki / "apiserver-kubelet-client")
        with pytest.raises(aiohttp.ClientError):
            async with session.get(url, headers=headers, ssl=foreign) as answer:
                await answer.read()
        proxy = trusting_with(pki / "front-proxy-client")
        async with session.get(url, headers=headers, ssl=proxy) as answer:
            assert answer.status == 200, "the proxy itself is believed"
        path, mallory = "/namespaces/default/pods/*/in_flight", {"X-Remote-User": "mallory"}
        async with session.get(url + path, headers=mallory, ssl=proxy) as answer:
            assert (answer.status, (await answer.json())["reason"]) == (403, "Forbidden")


def trusting_with(pair: Path | None) -> ssl.SSLContext:
    """A client that believes any server and shows this certificate, if any."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if pair is not None:
        context.load_cert_chain(pair.with_suffix(".crt"), pair.with_suffix(".key"))
    return context


async def test_no_number_is_told_while_pods_are_listed_and_the_api_is_available_meanwhile(
    kube: Kube, namespace: str, server: Path, tmp_path: Path, start_operator: StartOperator
) -> None:
    await kube.create(AGENT_NODES, agent_node(namespace))
    async with faulty_api(server, tmp_path) as api:
        api.held = (f"/api/v1/namespaces/{namespace}/pods",)
        async with published(kube, namespace, start_operator, KUBECONFIG=str(api.kubeconfig)):
            read = raw(kube, f"{CUSTOM}/namespaces/{namespace}/agentnodes.switchboard.dev/writers/in_flight")
            with pytest.raises(Unavailable, match="the watches are listing"):
                await read()
            assert api.waiting, "the pods are being listed"
            api.held = ()
            await eventually(lambda: why_not(read), lambda why: "listing" not in why, "an answer")


async def why_not(read: Callable[[], Awaitable[Json]]) -> str:
    try:
        await read()
    except ApiError as error:
        return str(error)
    return ""
