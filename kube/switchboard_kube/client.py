"""The operations of `Kube` as HTTP requests, through the kubernetes package's connection, login and TLS."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final
from urllib.parse import quote, urlencode

import aiohttp

from switchboard_kube.errors import NAMESPACE_TERMINATING, Gone, NotFound, Unavailable, error_of
from switchboard_kube.interface import EVERYTHING, Event, Json, Listing, Resource, Selector
from switchboard_kube.watching import Backoff, follow

MERGE: Final = "application/merge-patch+json"
APPLY: Final = "application/apply-patch+yaml"  # JSON is YAML

# The keys of tokens come as application/jwk-set+json alone
ACCEPT: Final = "application/json, */*;q=0.5"
# Of whole objects only what `metadata` says
METADATA: Final = f"application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io, {ACCEPT}"

# Lists come in pages, so that one of ten thousand objects neither blocks the loop nor the API server
PAGE: Final = 500
REQUEST_TIMEOUT: Final = aiohttp.ClientTimeout(total=30, sock_connect=5)
# The server ends a watch by itself; asking for less than its own limit keeps a dead connection from living for long
WATCH_SECONDS: Final = 300
# Bookmarks come at least once a minute: a watch that is silent for longer is dead
WATCH_TIMEOUT: Final = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=90)


class ApiServer:
    """A `Kube` that talks to a real API server. Made by `connect`."""

    def __init__(self, api: Any, field_manager: str) -> None:
        self._api = api
        self._field_manager = field_manager

    async def get(self, resource: Resource, name: str, namespace: str | None = None) -> Json:
        return await self._request("GET", _path(resource, namespace, name))

    async def list(self, resource: Resource, selector: Selector = EVERYTHING) -> Listing:
        items: list[Json] = []
        version = ""
        # Items of a list say neither kind nor apiVersion
        kind = {"apiVersion": resource.api_version, "kind": resource.kind}
        async for page in self._pages(resource, selector, ACCEPT):
            items += [kind | item for item in page.get("items") or ()]
            version = (page.get("metadata") or {}).get("resourceVersion", "")
        return Listing(tuple(items), version)

    async def uids(self, resource: Resource, selector: Selector = EVERYTHING) -> set[str]:
        found: set[str] = set()
        async for page in self._pages(resource, selector, METADATA):
            found.update(item["metadata"]["uid"] for item in page.get("items") or ())
        return found

    def watch(self, resource: Resource, selector: Selector = EVERYTHING) -> AsyncIterator[Event]:
        return follow(
            lambda: self.list(resource, selector),
            lambda version: self._changes(resource, selector, version),
            Backoff(),
            what=resource.plural,
        )

    async def apply(self, resource: Resource, manifest: Mapping[str, Any], *, force: bool = True) -> Json:
        path = _path(resource, *_identity(manifest))
        query = {"fieldManager": self._field_manager, "force": "true" if force else "false"}
        return await self._request("PATCH", path, query, manifest, APPLY)

    async def create(self, resource: Resource, manifest: Mapping[str, Any]) -> Json:
        path = _path(resource, manifest["metadata"].get("namespace"))
        return await self._request("POST", path, self._manager(), manifest)

    async def update(self, resource: Resource, manifest: Mapping[str, Any]) -> Json:
        return await self._request("PUT", _path(resource, *_identity(manifest)), self._manager(), manifest)

    async def patch(
        self, resource: Resource, name: str, namespace: str | None, body: Mapping[str, Any], *, subresource: str = ""
    ) -> Json:
        path = _path(resource, namespace, name) + (f"/{subresource}" if subresource else "")
        return await self._request("PATCH", path, self._manager(), body, MERGE)

    async def patch_status(
        self, resource: Resource, name: str, namespace: str | None, status: Mapping[str, Any]
    ) -> Json:
        return await self.patch(resource, name, namespace, {"status": dict(status)}, subresource="status")

    async def delete(self, resource: Resource, name: str, namespace: str | None = None, *, uid: str = "") -> None:
        body: Json = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"}
        if uid:
            body["preconditions"] = {"uid": uid}
        try:
            await self._request("DELETE", _path(resource, namespace, name), None, body)
        except NotFound:
            return

    async def raw_get(self, path: str) -> Json:
        """Read a path that is no resource, such as /version."""
        return await self._request("GET", path)

    async def _pages(self, resource: Resource, selector: Selector, accept: str) -> AsyncIterator[Json]:
        query = _query(selector) | {"limit": str(PAGE)}
        while True:
            page = await self._request("GET", _path(resource, selector.namespace), query, accept=accept)
            yield page
            following = (page.get("metadata") or {}).get("continue")
            if not following:
                return
            query["continue"] = following

    def _manager(self) -> dict[str, str]:
        return {"fieldManager": self._field_manager}

    async def _changes(self, resource: Resource, selector: Selector, version: str) -> AsyncIterator[tuple[str, Json]]:
        query = _query(selector) | {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(WATCH_SECONDS),
            "resourceVersion": version,
        }
        async with self._response("GET", _path(resource, selector.namespace), query, None, WATCH_TIMEOUT) as response:
            buffer = b""
            # Lines may be longer than any limit of a line reader: an object of 1 MiB is one
            async for chunk in response.content.iter_any():
                *lines, buffer = (buffer + chunk).split(b"\n")
                for line in filter(None, lines):
                    event = _read_object(line)
                    if event["type"] == "ERROR":
                        raise _watch_error(event["object"])
                    yield event["type"], event["object"]

    async def _request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        content_type: str = "application/json",
        accept: str = ACCEPT,
    ) -> Json:
        payload = (body, content_type) if body is not None else None
        async with self._response(method, path, query, payload, REQUEST_TIMEOUT, accept) as response:
            return _read_object(await response.read())

    @asynccontextmanager
    async def _response(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        payload: tuple[Mapping[str, Any], str] | None,
        timeout: aiohttp.ClientTimeout,
        accept: str = ACCEPT,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The answer of one request; raises `ApiError` for a refusal, a lost connection, a time-out, no JSON."""
        headers = dict(self._api.default_headers) | {"Accept": accept}
        await self._api.update_params_for_auth(headers, [], ["BearerToken"], path, method, None)
        if payload is not None:
            headers["Content-Type"] = payload[1]
        url = self._api.configuration.host + path + (f"?{urlencode(query)}" if query else "")
        try:
            answer = await self._api.rest_client.request(
                method, url, headers=headers, body=payload[0] if payload else None, _request_timeout=timeout
            )
            async with answer.response as response:
                if response.status >= 400:
                    raise _refusal(response.status, response.headers, await response.read())
                yield response
        except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as error:
            raise Unavailable(0, "NoAnswer", f"{method} {path}: {error!r}") from error


def _read_object(data: bytes) -> Json:
    """Raises ValueError for what is no JSON object: a proxy may answer in the API server's place."""
    answer = json.loads(data)
    if not isinstance(answer, dict):
        raise ValueError(f"no JSON object: {data[:64]!r}")
    return answer


def _path(resource: Resource, namespace: str | None, name: str = "") -> str:
    root = f"/apis/{resource.group}/{resource.version}" if resource.group else f"/api/{resource.version}"
    scope = f"/namespaces/{quote(namespace, safe='')}" if namespace and resource.namespaced else ""
    return f"{root}{scope}/{resource.plural}" + (f"/{quote(name, safe='')}" if name else "")


def _query(selector: Selector) -> dict[str, str]:
    query = {"labelSelector": selector.labels, "fieldSelector": selector.fields}
    return {key: value for key, value in query.items() if value}


def _identity(manifest: Mapping[str, Any]) -> tuple[str | None, str]:
    metadata = manifest["metadata"]
    return metadata.get("namespace"), metadata["name"]


def _refusal(status: int, headers: Mapping[str, str], body: bytes) -> Exception:
    try:
        answer = json.loads(body)
    except ValueError:  # a proxy in between, or a server that is going down
        answer = {}
    if not isinstance(answer, dict):
        answer = {}
    message = answer.get("message") or body[:512].decode(errors="replace") or f"HTTP {status}"
    retry_after = headers.get("Retry-After", "")
    causes = (answer.get("details") or {}).get("causes") or ()
    terminating = any(cause.get("reason") == NAMESPACE_TERMINATING for cause in causes)
    reason = NAMESPACE_TERMINATING if terminating else answer.get("reason", "")
    return error_of(status, reason, message, float(retry_after) if retry_after.isdigit() else None)


def _watch_error(status: Json) -> Exception:
    code = int(status.get("code", 500))
    error = error_of(code, status.get("reason", ""), status.get("message", "watch failed"))
    # An expired resourceVersion may also be told as such, without its code
    return Gone(410, "Expired", str(error)) if status.get("reason") in ("Expired", "Gone") else error
