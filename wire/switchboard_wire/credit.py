"""Credit of one direction of one call: bytes of DATA that may be under way."""

from switchboard_wire.limits import GRANT_BYTES, INITIAL_CREDIT_BYTES


class CreditLine:
    """Counts what has been sent against what was granted. Pure; the waiting is its owner's."""

    __slots__ = ("left",)

    def __init__(self) -> None:
        self.left = INITIAL_CREDIT_BYTES

    def spend(self, size: int) -> bool:
        """Account for one DATA frame; False when the sender had no credit left before it and so broke the rules."""
        allowed = self.left > 0
        self.left -= size
        return allowed

    def grant(self, size: int) -> None:
        self.left += size


class Consumed:
    """What a receiver has consumed since it last granted."""

    __slots__ = ("_since",)

    def __init__(self) -> None:
        self._since = 0

    def add(self, size: int) -> int:
        """Account for bytes that the application took; returns the credit to grant now, often 0."""
        self._since += size
        if self._since < GRANT_BYTES:
            return 0
        grant, self._since = self._since, 0
        return grant
