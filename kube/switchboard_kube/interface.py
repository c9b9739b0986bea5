"""What an API server is to the rest of the project: resources, events, and the operations on them."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Resource:
    """A kind of object and where the API server keeps it; `group` is empty for the core group."""

    group: str
    version: str
    kind: str
    plural: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        """What `apiVersion` says in a manifest of this kind."""
        return f"{self.group}/{self.version}" if self.group else self.version


@dataclass(frozen=True, slots=True)
class Selector:
    """Narrows a list or a watch, on the server. No namespace: all of them."""

    namespace: str | None = None
    labels: str = ""
    fields: str = ""


EVERYTHING = Selector()


@dataclass(frozen=True, slots=True)
class Listing:
    """The objects at one moment, and the resourceVersion of that moment."""

    items: tuple[Json, ...]
    resource_version: str


class EventType(Enum):
    """What a watch tells."""

    APPLIED = "APPLIED"
    DELETED = "DELETED"
    SYNCED = "SYNCED"


@dataclass(frozen=True, slots=True)
class Event:
    """One change. `object` is empty for SYNCED; a deletion found by a relist carries metadata alone."""

    type: EventType
    object: Json


class Kube(Protocol):
    """The operations on an API server. All raise `ApiError`: NotFound, Conflict, Invalid, Forbidden, Unavailable."""

    async def get(self, resource: Resource, name: str, namespace: str | None = None) -> Json:
        """Read one object."""
        ...

    async def list(self, resource: Resource, selector: Selector = EVERYTHING) -> Listing:
        """Read all that match, in pages."""
        ...

    async def uids(self, resource: Resource, selector: Selector = EVERYTHING) -> set[str]:
        """The UIDs of all that match: never more than a page of objects is held for it."""
        ...

    def watch(self, resource: Resource, selector: Selector = EVERYTHING) -> AsyncIterator[Event]:
        """List, then tell every change, for ever: it survives lost connections, 410 and an absent server."""
        ...

    async def apply(self, resource: Resource, manifest: Mapping[str, Any], *, force: bool = True) -> Json:
        """Server-side apply as the field manager of this connection; the manifest is complete for our fields."""
        ...

    async def create(self, resource: Resource, manifest: Mapping[str, Any]) -> Json:
        """Create; Conflict when the name is taken."""
        ...

    async def update(self, resource: Resource, manifest: Mapping[str, Any]) -> Json:
        """Replace; Conflict when the manifest's resourceVersion is not the newest."""
        ...

    async def patch(
        self, resource: Resource, name: str, namespace: str | None, body: Mapping[str, Any], *, subresource: str = ""
    ) -> Json:
        """JSON merge patch of the object or of a subresource such as `scale`."""
        ...

    async def patch_status(
        self, resource: Resource, name: str, namespace: str | None, status: Mapping[str, Any]
    ) -> Json:
        """JSON merge patch of `.status`; a member that is None is removed."""
        ...

    async def delete(self, resource: Resource, name: str, namespace: str | None = None, *, uid: str = "") -> None:
        """Delete in the background; an object that is gone already is a success. With `uid`, only that very object."""
        ...
