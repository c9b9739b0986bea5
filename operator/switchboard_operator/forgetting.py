"""Storages for kopf that keep nothing: it writes nothing for us, and compares nothing for us either."""

from typing import Any

import kopf


class NoEssence(kopf.DiffBaseStorage):
    """No object has anything by which changes of it could be told."""

    def build(self, **_: Any) -> kopf.BodyEssence:
        return kopf.BodyEssence()

    def fetch(self, **_: Any) -> kopf.BodyEssence | None:
        return None

    def store(self, **_: Any) -> None:
        """There is nothing to store."""


class NoProgress(kopf.ProgressStorage):
    """No handler is ever half done."""

    def fetch(self, **_: Any) -> Any:
        return None

    def store(self, **_: Any) -> None:
        """There is nothing to store."""

    def purge(self, **_: Any) -> None:
        """There is nothing to purge."""

    def touch(self, **_: Any) -> None:
        """There is nothing to touch."""

    def clear(self, *, essence: kopf.BodyEssence) -> kopf.BodyEssence:
        return essence
