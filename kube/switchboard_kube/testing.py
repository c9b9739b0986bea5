"""An API server of one process, for tests: objects in a dict, watches from queues, no schemas and no controllers."""

import asyncio
import copy
import itertools
from collections.abc import AsyncIterator, Mapping
from typing import Any

from switchboard_kube.errors import Conflict, NotFound
from switchboard_kube.interface import EVERYTHING, Event, EventType, Json, Listing, Resource, Selector

Key = tuple[Resource, str, str]


class FakeKube:
    """A `Kube` in memory. `writes` lists every write as (verb, kind, name), `failures` are raised, one per operation.

    Apply replaces the object but its status, uid and creationTimestamp: it knows no other field managers. Label and
    field selectors are `key=value` only, fields of metadata only.
    """

    def __init__(self, *objects: tuple[Resource, Json]) -> None:
        self.objects: dict[Key, Json] = {}
        self.writes: list[tuple[str, str, str]] = []
        self.failures: list[Exception] = []
        self._versions = itertools.count(1)
        self._watchers: list[tuple[Resource, Selector, asyncio.Queue[Event]]] = []
        for resource, obj in objects:
            self._store(resource, obj)

    async def get(self, resource: Resource, name: str, namespace: str | None = None) -> Json:
        self._maybe_fail()
        return copy.deepcopy(self._stored(resource, namespace, name))

    async def list(self, resource: Resource, selector: Selector = EVERYTHING) -> Listing:
        self._maybe_fail()
        found = (obj for (kind, _, _), obj in self.objects.items() if kind == resource and _matches(obj, selector))
        return Listing(tuple(copy.deepcopy(obj) for obj in found), str(next(self._versions)))

    async def uids(self, resource: Resource, selector: Selector = EVERYTHING) -> set[str]:
        return {obj["metadata"]["uid"] for obj in (await self.list(resource, selector)).items}

    async def watch(self, resource: Resource, selector: Selector = EVERYTHING) -> AsyncIterator[Event]:
        queue: asyncio.Queue[Event] = asyncio.Queue()
        entry = (resource, selector, queue)
        self._watchers.append(entry)
        try:
            for obj in (await self.list(resource, selector)).items:
                yield Event(EventType.APPLIED, obj)
            yield Event(EventType.SYNCED, {})
            while True:
                yield await queue.get()
        finally:
            self._watchers.remove(entry)

    async def apply(self, resource: Resource, manifest: Mapping[str, Any], *, force: bool = True) -> Json:
        return self._write("apply", resource, manifest)

    async def create(self, resource: Resource, manifest: Mapping[str, Any]) -> Json:
        if self._key(resource, manifest) in self.objects:
            raise Conflict(409, "AlreadyExists", f"{resource.plural} {manifest['metadata']['name']} already exists")
        return self._write("create", resource, manifest)

    async def update(self, resource: Resource, manifest: Mapping[str, Any]) -> Json:
        metadata = manifest["metadata"]
        held = self._stored(resource, metadata.get("namespace"), metadata["name"])
        if metadata.get("resourceVersion", held["metadata"]["resourceVersion"]) != held["metadata"]["resourceVersion"]:
            raise Conflict(409, "Conflict", "the object has been modified")
        return self._write("update", resource, manifest)

    async def patch(
        self, resource: Resource, name: str, namespace: str | None, body: Mapping[str, Any], *, subresource: str = ""
    ) -> Json:
        held = self._stored(resource, namespace, name)
        return self._write(f"patch {subresource}".strip(), resource, _merge(held, body))

    async def patch_status(
        self, resource: Resource, name: str, namespace: str | None, status: Mapping[str, Any]
    ) -> Json:
        return await self.patch(resource, name, namespace, {"status": dict(status)}, subresource="status")

    async def delete(self, resource: Resource, name: str, namespace: str | None = None, *, uid: str = "") -> None:
        self._maybe_fail()
        held = self.objects.get((resource, namespace or "", name))
        if held is None:
            return
        if uid and held["metadata"]["uid"] != uid:
            raise Conflict(409, "Conflict", "the UID in the precondition does not match")
        self.writes.append(("delete", resource.kind, name))
        del self.objects[(resource, namespace or "", name)]
        self._tell(resource, Event(EventType.DELETED, held))

    def _write(self, verb: str, resource: Resource, manifest: Mapping[str, Any]) -> Json:
        self._maybe_fail()
        self.writes.append((verb, resource.kind, manifest["metadata"]["name"]))
        stored = self._store(resource, manifest)
        self._tell(resource, Event(EventType.APPLIED, copy.deepcopy(stored)))
        return copy.deepcopy(stored)

    def _store(self, resource: Resource, manifest: Mapping[str, Any]) -> Json:
        key = self._key(resource, manifest)
        held = self.objects.get(key)
        obj: Json = {"apiVersion": resource.api_version, "kind": resource.kind} | copy.deepcopy(dict(manifest))
        version = str(next(self._versions))
        kept = held["metadata"] if held else {"uid": f"uid-{version}", "creationTimestamp": "2026-01-01T00:00:00Z"}
        kept = {"uid": kept["uid"], "creationTimestamp": kept["creationTimestamp"]} | obj["metadata"]
        generation = 1 if held is None else held["metadata"]["generation"] + (held.get("spec") != obj.get("spec"))
        obj["metadata"] = kept | {"resourceVersion": version, "generation": generation}
        if held and "status" in held and "status" not in obj:
            obj["status"] = held["status"]
        self.objects[key] = obj
        return obj

    def _stored(self, resource: Resource, namespace: str | None, name: str) -> Json:
        held = self.objects.get((resource, namespace or "", name))
        if held is None:
            raise NotFound(404, "NotFound", f'{resource.plural} "{name}" not found')
        return held

    def _key(self, resource: Resource, manifest: Mapping[str, Any]) -> Key:
        metadata = manifest["metadata"]
        return resource, metadata.get("namespace", ""), metadata["name"]

    def _tell(self, resource: Resource, event: Event) -> None:
        for kind, selector, queue in self._watchers:
            if kind == resource and _matches(event.object, selector):
                queue.put_nowait(event)

    def _maybe_fail(self) -> None:
        if self.failures:
            raise self.failures.pop(0)


def _matches(obj: Json, selector: Selector) -> bool:
    metadata = obj["metadata"]
    if selector.namespace and metadata.get("namespace") != selector.namespace:
        return False
    labels = metadata.get("labels") or {}
    wanted = [term.partition("=") for term in selector.labels.split(",") if term]
    fields = [term.partition("=") for term in selector.fields.split(",") if term]
    return all(labels.get(key) == value for key, _, value in wanted) and all(
        metadata.get(key.removeprefix("metadata.")) == value for key, _, value in fields
    )


def _merge(target: Mapping[str, Any], patch: Mapping[str, Any]) -> Json:
    """RFC 7386."""
    merged = copy.deepcopy(dict(target))
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, Mapping):
            held = merged.get(key)
            merged[key] = _merge(held if isinstance(held, dict) else {}, value)
        else:
            merged[key] = copy.deepcopy(value)
    return merged
