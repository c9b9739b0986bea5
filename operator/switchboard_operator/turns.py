"""Whose turn it is to take a new release of the operator. Pure."""

from dataclasses import dataclass

from switchboard_operator.objects import Resource
from switchboard_operator.status import has_rolled_out

Pool = tuple[str, str]


@dataclass(slots=True)
class Turns:
    """One pool at a time: one that does not come through the release stops the others."""

    holder: Pool | None = None

    def may_roll(self, pool: Pool, deployment: Resource | None, desired: int, *, waits: bool) -> bool:
        """Whether the pool may take the release. waits: it would, were it its turn; desired: its number of pods."""
        if self.holder == pool and not waits and deployment is not None and has_rolled_out(deployment, desired):
            self.holder = None
        if self.holder is None and waits:
            self.holder = pool
        return self.holder in (None, pool)

    def forget(self, pool: Pool | None) -> None:
        """The pool is gone."""
        if self.holder == pool:
            self.holder = None
