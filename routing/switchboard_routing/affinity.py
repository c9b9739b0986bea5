"""Where the calls of one key go: rendezvous hashing (Thaler and Ravishankar, 1998).

The same choice on every gateway that sees the same instances, in whatever order; few keys move when one comes or goes.
"""

from collections.abc import Sequence
from enum import Enum
from hashlib import blake2b
from typing import Final, Generic

from switchboard_routing.balance import C
from switchboard_routing.policy import KeyAffinity, Strategy

# How far above the mean an instance may be loaded before its keys go to the next one
# (Mirrokni, Thorup, Zadimoghaddam, Consistent Hashing with Bounded Loads, 2016).
LOAD_BOUND: Final = 1.25
# Keys whose instance is remembered: a rank costs a microsecond per instance, and most keys call more than once
MAX_REMEMBERED: Final = 16_384


class Hashing(Enum):
    """Whether a call goes by its key: NO, to the key's home while it has room (BOUNDED), or there alone (STRICT)."""

    NO = "no"
    BOUNDED = "bounded"
    STRICT = "strict"


def hashing_of(strategy: Strategy, affinity: KeyAffinity) -> Hashing:
    """How a call with a key is routed."""
    if affinity is KeyAffinity.REQUIRED:
        return Hashing.STRICT
    if affinity is KeyAffinity.PREFERRED or strategy is Strategy.CONSISTENT_HASH:
        return Hashing.BOUNDED
    return Hashing.NO


class Homes(Generic[C]):
    """Keys and the instances that they belong to, as long as `members` are the same."""

    __slots__ = ("_known", "_members")

    def __init__(self, members: Sequence[C] = ()) -> None:
        self._members = members
        self._known: dict[str, C] = {}

    def home(self, key: str) -> C:
        """The first in the rank of all members, of which there is at least one."""
        found = self._known.get(key)
        if found is None:
            if len(self._known) >= MAX_REMEMBERED:
                self._known.clear()
            found = self._known[key] = max(self._members, key=lambda member: rank(member.name, key))
        return found

    def bounded(self, key: str) -> C:
        """The first in rank that carries less than 1.25 times the mean."""
        members = self._members
        bound = LOAD_BOUND * (sum([member.in_flight for member in members]) + 1) / len(members)
        home = self.home(key)
        if home.in_flight < bound:
            return home
        ranked = sorted(members, key=lambda member: rank(member.name, key), reverse=True)
        return next((member for member in ranked if member.in_flight < bound), home)


def rank(name: str, key: str) -> bytes:
    """How much the instance called `name` is the home of `key`; the highest is."""
    return blake2b(f"{name}\0{key}".encode(), digest_size=8).digest()
