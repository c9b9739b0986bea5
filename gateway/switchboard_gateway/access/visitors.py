"""Clients as the gateway remembers them: one per token, with what they may do."""

from collections.abc import Iterable

from switchboard_gateway.access.rights import Right, User
from switchboard_wire.peer import LocalPeer


class Ruling:
    """Whether one client has one right. until: when it is asked anew; last: when it counts no longer in any case."""

    __slots__ = ("allowed", "last", "until")

    def __init__(self, allowed: bool, until: float, last: float) -> None:
        self.allowed, self.until, self.last = allowed, until, last


class Visitor:
    """The client of one token. until, last: as of a ruling; expires: of the token. peers: its local ones, by surface.

    Times are on the guard's clock.
    """

    __slots__ = ("expires", "last", "peers", "principal", "rulings", "until", "user")

    def __init__(self, user: User, principal: str) -> None:
        self.user = user
        self.principal = principal
        self.rulings: dict[Right, Ruling] = {}
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
