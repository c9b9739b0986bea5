"""What was read of objects, kept as long as they say the same: of thousands, an event changes one."""

from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

from switchboard_kube import Json

Key = tuple[str, str]  # namespace, name
T = TypeVar("T")


class Readings(Generic[T]):
    """read: what is to be known of an object. version: the field of metadata that changes with it."""

    def __init__(self, read: Callable[[Json], T], version: str) -> None:
        self._read, self._version = read, version
        self._kept: dict[Key, tuple[object, T]] = {}

    def of(self, objects: Mapping[Key, Json]) -> dict[Key, T]:
        """What these objects say; those that are not among them any more are forgotten."""
        former, self._kept = self._kept, {}
        for key, held in objects.items():
            metadata = held["metadata"]
            mark = metadata.get("uid"), metadata.get(self._version)
            known = former.get(key)
            is_same = known is not None and None not in mark and known[0] == mark
            self._kept[key] = known if known is not None and is_same else (mark, self._read(held))
        return {key: value for key, (_, value) in self._kept.items()}
