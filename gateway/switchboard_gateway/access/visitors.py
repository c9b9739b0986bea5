"""Clients as the gateway remembers them: one per token, with what they may do."""

from collections.abc import Iterable
from typing import Final

from switchboard_gateway.access.rights import Right
from switchboard_identity.reviews import User
from switchboard_wire.peer import LocalPeer

# Types that one client calls; beyond this they are looked at anew
MAX_PASSES: Final = 2_000


class Ruling:
    """Whether one client has one right. until: when it is asked anew; last: when it counts no longer in any case."""

    __slots__ = ("allowed", "last", "until")

    def __init__(self, allowed: bool, until: float, last: float) -> None:
        self.allowed, self.until, self.last = allowed, until, last


class Pass:
    """All Agents of one type may be called. routes: of the table, which makes new ones when they change."""

    __slots__ = ("routes", "until")

    def __init__(self, routes: object, until: float) -> None:
        self.routes, self.until = routes, until


class Visitor:
    """The client of one token. until, last: as of a ruling; expires: of the token. peers: its local ones, by surface.

    Times are on the guard's clock. passes: the types, by namespace and type, of which every right is granted.
    """

    __slots__ = ("expires", "last", "passes", "peers", "principal", "rulings", "until", "user")

    def __init__(self, user: User, principal: str) -> None:
        self.user = user
        self.principal = principal
        self.rulings: dict[Right, Ruling] = {}
        self.passes: dict[tuple[str, str], Pass] = {}
        self.peers: dict[str, LocalPeer] = {}
        self.until = self.last = self.expires = float("inf")

    def lacks(self, rights: Iterable[Right], now: float) -> list[Right]:
        """Those about which there is no ruling that counts now."""
        rulings = self.rulings
        return [right for right in rights if (ruling := rulings.get(right)) is None or now >= ruling.until]

    def granted(self, rights: Iterable[Right]) -> list[Right]:
        """Those that it has, of rights on which there is a ruling."""
        rulings = self.rulings
        return [right for right in rights if (ruling := rulings.get(right)) is not None and ruling.allowed]

    def remember(self, key: tuple[str, str], routes: object, rights: Iterable[Right]) -> None:
        """Let calls to a type pass without another look until the first of its rights is asked for anew."""
        if len(self.passes) >= MAX_PASSES:
            self.passes.clear()
        self.passes[key] = Pass(routes, min(self.rulings[right].until for right in rights))
