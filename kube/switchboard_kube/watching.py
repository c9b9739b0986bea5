"""List and watch for ever: resume where it broke, relist when the history is gone, never hammer the server."""

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

from switchboard_kube.errors import ApiError, Gone
from switchboard_kube.interface import Event, EventType, Json, Listing

log = logging.getLogger(__name__)

ListOnce = Callable[[], Awaitable[Listing]]
WatchOnce = Callable[[str], AsyncIterator[tuple[str, Json]]]
Key = tuple[str, str]

# A relist that finds an object gone has only this to tell of it
_KEPT = ("name", "namespace", "uid", "labels")


@dataclass(slots=True)
class Backoff:
    """Growing pauses with full jitter, without an end: an API server that is away comes back some time."""

    first_s: float = 0.5
    longest_s: float = 30.0
    rng: random.Random = field(default_factory=random.Random)
    _failures: int = 0

    def reset(self) -> None:
        """Something worked: the next pause is a short one."""
        self._failures = 0

    def next_s(self, at_least_s: float = 0.0) -> float:
        """The pause before the next attempt."""
        ceiling = min(self.longest_s, self.first_s * 2.0 ** min(self._failures, 16))
        self._failures += 1
        return max(at_least_s, self.rng.uniform(ceiling / 2, ceiling))


async def follow(list_once: ListOnce, watch_once: WatchOnce, backoff: Backoff, *, what: str) -> AsyncIterator[Event]:
    """Every object of the listing, SYNCED, then every change; the same again whenever the history has been lost."""
    known: dict[Key, Json] = {}
    version: str | None = None
    while True:
        try:
            if version is None:
                listing = await list_once()
                for event in _compare(known, listing):
                    yield event
                version = listing.resource_version
                yield Event(EventType.SYNCED, {})
            async for kind, obj in watch_once(version):
                version = obj["metadata"].get("resourceVersion", version)
                backoff.reset()
                if kind != "BOOKMARK":
                    yield _learn(known, kind, obj)
            # The server ended the watch as it was asked to; the pause keeps one that ends at once from spinning
            await asyncio.sleep(backoff.next_s())
        except Gone:
            version = None
            await asyncio.sleep(backoff.next_s())
        except ApiError as error:
            pause = backoff.next_s(error.retry_after_s or 0.0)
            log.warning("watch of %s failed, again in %.1f s: %s", what, pause, error)
            await asyncio.sleep(pause)


def _compare(known: dict[Key, Json], listing: Listing) -> list[Event]:
    """The events of a whole listing, deletions since the last one first; `known` is brought up to date."""
    found = {_key(item): item for item in listing.items}
    replaced = [
        meta for key, meta in known.items() if key not in found or found[key]["metadata"].get("uid") != meta.get("uid")
    ]
    events = [Event(EventType.DELETED, {"metadata": meta}) for meta in replaced]
    known.clear()
    known.update({key: _kept(item) for key, item in found.items()})
    return events + [Event(EventType.APPLIED, item) for item in listing.items]


def _learn(known: dict[Key, Json], kind: str, obj: Json) -> Event:
    if kind == "DELETED":
        known.pop(_key(obj), None)
        return Event(EventType.DELETED, obj)
    known[_key(obj)] = _kept(obj)
    return Event(EventType.APPLIED, obj)


def _key(obj: Json) -> Key:
    metadata = obj["metadata"]
    return metadata.get("namespace", ""), metadata["name"]


def _kept(obj: Json) -> Json:
    metadata = obj["metadata"]
    return {name: metadata[name] for name in _KEPT if name in metadata}
