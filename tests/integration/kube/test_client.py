"""The narrow interface against a real API server: each operation, each refusal, the watch."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from switchboard_kube import (
    CONFIG_MAPS,
    DEPLOYMENTS,
    ApiError,
    Conflict,
    Event,
    EventType,
    Invalid,
    Json,
    Kube,
    NotFound,
    Selector,
    Unavailable,
    client,
    connect,
)

pytestmark = pytest.mark.integration


@pytest.fixture
async def kube(control_plane: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Kube]:
    """A connection, with a proxy in the environment that leads nowhere."""
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    async with connect(kubeconfig=str(control_plane), field_manager="test") as connected:
        yield connected


def config_map(namespace: str, name: str = "a", **data: str) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": namespace, "labels": {"set": name}},
        "data": data,
    }


async def test_an_object_is_applied_read_patched_and_deleted(kube: Kube, namespace: str) -> None:
    made = await kube.apply(CONFIG_MAPS, config_map(namespace, x="1"))
    assert (await kube.get(CONFIG_MAPS, "a", namespace))["data"] == {"x": "1"}
    same = await kube.apply(CONFIG_MAPS, config_map(namespace, x="1"))
    assert same["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"], "an equal apply writes nothing"
    await kube.patch(CONFIG_MAPS, "a", namespace, {"data": {"x": None, "y": "2"}})
    found = await kube.list(CONFIG_MAPS, Selector(namespace, labels="set=a"))
    assert [item["data"] for item in found.items] == [{"y": "2"}]
    assert found.items[0]["kind"] == "ConfigMap"
    await kube.delete(CONFIG_MAPS, "a", namespace)
    await kube.delete(CONFIG_MAPS, "a", namespace)
    with pytest.raises(NotFound):
        await kube.get(CONFIG_MAPS, "a", namespace)


async def test_uids_come_page_by_page_and_without_the_objects(
    kube: Kube, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [await kube.create(CONFIG_MAPS, config_map(namespace, name, x="1" * 1000)) for name in "abc"]
    monkeypatch.setattr(client, "PAGE", 2)
    read: list[Json] = []
    kept = client._read_object
    monkeypatch.setattr(client, "_read_object", lambda data: read.append(kept(data)) or read[-1])
    assert await kube.uids(CONFIG_MAPS, Selector(namespace, labels="set")) == {one["metadata"]["uid"] for one in made}
    assert [(page["kind"], len(page["items"])) for page in read] == [
        ("PartialObjectMetadataList", 2), ("PartialObjectMetadataList", 1)
    ]  # fmt: skip


async def test_what_is_out_of_date_is_a_conflict(kube: Kube, namespace: str) -> None:
    made = await kube.create(CONFIG_MAPS, config_map(namespace))
    with pytest.raises(Conflict):
        await kube.create(CONFIG_MAPS, config_map(namespace))
    await kube.update(CONFIG_MAPS, made | {"data": {"x": "1"}})
    with pytest.raises(Conflict):
        await kube.update(CONFIG_MAPS, made | {"data": {"x": "2"}})
    stale = config_map(namespace, x="3")
    stale["metadata"]["resourceVersion"] = made["metadata"]["resourceVersion"]
    with pytest.raises(Conflict):
        await kube.apply(CONFIG_MAPS, stale)
    with pytest.raises(Conflict):
        await kube.delete(CONFIG_MAPS, "a", namespace, uid="another")


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        pytest.param({"replicas": 1, "selector": {}, "template": {}}, "spec", id="a value that is not allowed"),
        pytest.param({"noSuchField": 1}, "noSuchField", id="a field that does not exist"),
    ],
)
async def test_what_is_wrong_is_invalid_and_says_why(kube: Kube, namespace: str, spec: Json, says: str) -> None:
    metadata = {"name": "a", "namespace": namespace}
    manifest = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}
    with pytest.raises(Invalid, match=says):
        await kube.apply(DEPLOYMENTS, manifest)


async def test_a_watch_tells_what_is_there_and_what_happens(kube: Kube, namespace: str) -> None:
    await kube.create(CONFIG_MAPS, config_map(namespace, "a"))
    told: list[tuple[str, str]] = []
    synced = asyncio.Event()

    def note(event: Event) -> None:
        name = event.object.get("metadata", {}).get("name", "")
        if name != "kube-root-ca.crt":
            told.append((event.type.value, name))
        if event.type is EventType.SYNCED:
            synced.set()

    async def follow() -> None:
        async for event in kube.watch(CONFIG_MAPS, Selector(namespace, labels="set")):
            note(event)
            if told[-1:] == [("DELETED", "b")]:
                return

    follower = asyncio.create_task(follow())
    async with asyncio.timeout(60):
        await synced.wait()
        await kube.create(CONFIG_MAPS, config_map(namespace, "b"))
        await kube.patch(CONFIG_MAPS, "b", namespace, {"data": {"x": "1"}})
        await kube.delete(CONFIG_MAPS, "b", namespace)
        await follower
    assert told == [("APPLIED", "a"), ("SYNCED", ""), ("APPLIED", "b"), ("APPLIED", "b"), ("DELETED", "b")]


async def test_a_server_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    async with connect(kubeconfig=str(kubeconfig_of(tmp_path, 9))) as kube:
        with pytest.raises(Unavailable):
            await kube.get(CONFIG_MAPS, "a", "default")
        assert issubclass(Unavailable, ApiError)


@pytest.mark.parametrize("body", [b"<html>", b"\x1f\x8b\x08", "Tsch\u00fcs".encode("latin-1"), b"[]"])
async def test_an_answer_that_is_no_json_object_is_no_answer(body: bytes, tmp_path: Path) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    config = kubeconfig_of(tmp_path, server.sockets[0].getsockname()[1])
    async with server, connect(kubeconfig=str(config)) as kube:
        with pytest.raises(Unavailable):
            await kube.get(CONFIG_MAPS, "a", "default")


def kubeconfig_of(folder: Path, port: int) -> Path:
    found = folder / "kubeconfig"
    found.write_text(
        "{apiVersion: v1, kind: Config, current-context: c, clusters: [{name: c, cluster: "
        f"{{server: 'http://127.0.0.1:{port}'}}}}], users: [{{name: u, user: {{}}}}], "
        "contexts: [{name: c, context: {cluster: c, user: u}}]}"
    )
    return found
