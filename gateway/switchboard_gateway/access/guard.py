"""What the API server has said of clients and their rights, remembered for a short time.

Answers count for `cache_s`, refusals for REFUSED_S at most, so that a right that was granted is soon seen. While the
API server does not answer, what it has granted before counts for `outage_s` longer, and nobody waits for it; whoever is
not known then is told to try again.
"""

import asyncio
import hashlib
import logging
from collections.abc import Callable, Collection, Coroutine
from dataclasses import dataclass
from typing import Any, Final, Protocol

from switchboard_gateway.access.reach import Key, keys_of
from switchboard_gateway.access.rights import Right, access_review, denied, is_allowed
from switchboard_gateway.access.visitors import Ruling, Visitor
from switchboard_identity.asking import NO, YES, Asker, Count, ReviewFailed, count_nothing, keep_newest
from switchboard_identity.flights import Flights
from switchboard_identity.reviews import Json, User, check_shape, expiry_of, read_user, token_review
from switchboard_wire.errors import SwitchboardError, failure
from switchboard_wire.names import TOKEN_AUDIENCE
from switchboard_wire.v1 import frames_pb2 as pb

log = logging.getLogger("switchboard.gateway.access")

# A right that was granted a moment ago is seen within this time
REFUSED_S: Final = 5.0
# An API server that is away is asked again at this pace
RETRY_S: Final = 1.0
# Tokens that are remembered; refused ones apart, so that made-up ones push out nobody
MAX_TOKENS: Final = 10_000
# Of one client: the Agents that it calls
MAX_RULINGS: Final = 2_000


class Reviews(Protocol):
    """The two review APIs."""

    async def token(self, review: Json) -> Json:
        """Whose token it is. Raises ReviewFailed."""
        ...

    async def access(self, review: Json) -> Json:
        """Whether a user has a right. Raises ReviewFailed."""
        ...


@dataclass(frozen=True, slots=True)
class GuardRules:
    """audience: that tokens must be for; empty: the API server's own. trust_domain: of the ids of ServiceAccounts."""

    audience: str = TOKEN_AUDIENCE
    trust_domain: str = "cluster.local"
    cache_s: float = 30.0
    outage_s: float = 300.0


class Guard:
    """Knows clients by their tokens. clock: seconds of the loop; wall: seconds since the epoch. count: of reviews."""

    def __init__(
        self,
        reviews: Reviews,
        rules: GuardRules,
        clock: Callable[[], float],
        wall: Callable[[], float],
        count: Count = count_nothing,
    ) -> None:
        self._reviews, self._rules, self._clock, self._wall = reviews, rules, clock, wall
        self._visitors: dict[bytes, Visitor] = {}  # by the token's digest: a dump of this shows no token
        self._refused: dict[bytes, tuple[SwitchboardError, float]] = {}
        self._flights = Flights()
        self._asker = Asker("clients", clock, count)

    def recall(self, token: str, rights: Collection[Right]) -> Visitor | None:
        """The client of a token, where nobody has to be asked to know that it has one of some rights."""
        if not token.isascii():  # what is no token has no digest either
            return None
        visitor, now = self._visitors.get(_digest(token)), self._clock()
        if visitor is None or now >= visitor.until or visitor.lacks(rights, now):
            return None
        return visitor if visitor.granted(rights) else None

    async def enter(self, token: str) -> Visitor:
        """The client of a token. Raises UNAUTHENTICATED, or NODE_UNAVAILABLE when nobody can say."""
        check_shape(token)
        key, now = _digest(token), self._clock()
        visitor = self._visitors.get(key)
        if visitor is not None and now < visitor.until:
            return visitor
        refused = self._refused.get(key)
        if refused is not None and now < refused[1]:
            raise SwitchboardError(refused[0].error)

        def identify() -> Coroutine[Any, Any, Visitor]:
            return self._identify(key, token)

        if self._asker.is_away and visitor is not None and now < visitor.last:
            self._flights.start(key, identify)
            return visitor
        return await self._flights.join(key, identify)

    async def settle(self, visitor: Visitor, rights: Collection[Right]) -> None:
        """See that there is a ruling on each right. Raises NODE_UNAVAILABLE when nobody can say."""
        now = self._clock()
        waiting: list[asyncio.Task[None]] = []
        for right in visitor.lacks(rights, now):
            task = self._flights.start((id(visitor), right), self._ruling_on(visitor, right))
            known = visitor.rulings.get(right)
            if not (self._asker.is_away and known is not None and now < known.last):
                waiting.append(task)
        for each in waiting:
            await asyncio.shield(each)

    async def narrow(self, visitor: Visitor, rights: Collection[Right]) -> frozenset[Key]:
        """Of the Agents that some rights are about, those on which the client has its right.

        Raises PERMISSION_DENIED when there are none, NODE_UNAVAILABLE when nobody can say.
        """
        await self.settle(visitor, rights)
        granted = visitor.granted(rights)
        if rights and not granted:
            raise refusal(visitor, next(iter(rights)))
        return keys_of(granted)

    async def require(self, token: str, right: Right) -> Visitor:
        """The client of a token, which has the right. Raises UNAUTHENTICATED, PERMISSION_DENIED, NODE_UNAVAILABLE."""
        visitor = await self.enter(token)
        await self.narrow(visitor, (right,))
        return visitor

    # Asking

    async def _identify(self, key: bytes, token: str) -> Visitor:
        audience = self._rules.audience
        try:
            answer = await self._asker.ask(lambda: self._reviews.token(token_review(token, audience)), "token")
            user = read_user(answer, audience)
        except ReviewFailed as error:
            return self._go_on(self._visitors.get(key), error)
        except SwitchboardError as error:
            self._asker.count("token", NO)
            self._visitors.pop(key, None)
            keep_newest(self._refused, key, (error, self._clock() + REFUSED_S), MAX_TOKENS)
            raise
        self._asker.count("token", YES)
        visitor = self._admit(self._visitors.get(key), token, user)
        self._refused.pop(key, None)
        keep_newest(self._visitors, key, visitor, MAX_TOKENS)
        return visitor

    def _admit(self, visitor: Visitor | None, token: str, user: User) -> Visitor:
        now, rules = self._clock(), self._rules
        if visitor is None or visitor.user != user:
            visitor = Visitor(user, user.principal(rules.trust_domain))
            log.debug("a client is known", extra={"principal": visitor.principal})
        expires = expiry_of(token)
        visitor.expires = now + expires - self._wall() if expires is not None else float("inf")
        visitor.until = min(now + rules.cache_s, visitor.expires)
        visitor.last = min(now + rules.cache_s + rules.outage_s, visitor.expires)
        return visitor

    def _go_on(self, visitor: Visitor | None, error: ReviewFailed) -> Visitor:
        """With what was known before, for a while; or not at all."""
        now = self._clock()
        if visitor is None or now >= visitor.last:
            raise _unavailable(error) from error
        visitor.until = min(now + RETRY_S, visitor.last)
        return visitor

    def _ruling_on(self, visitor: Visitor, right: Right) -> Callable[[], Coroutine[Any, Any, None]]:
        return lambda: self._rule(visitor, right)

    async def _rule(self, visitor: Visitor, right: Right) -> None:
        rules = self._rules
        try:
            answer = await self._asker.ask(lambda: self._reviews.access(access_review(visitor.user, right)), "access")
        except ReviewFailed as error:
            known, now = visitor.rulings.get(right), self._clock()
            if known is None or now >= known.last:
                raise _unavailable(error) from error
            known.until = min(now + RETRY_S, known.last)
            return
        now, allowed = self._clock(), is_allowed(answer)
        self._asker.count("access", YES if allowed else NO)
        counts_s = rules.cache_s if allowed else min(rules.cache_s, REFUSED_S)
        ruling = Ruling(allowed, now + counts_s, now + counts_s + (rules.outage_s if allowed else 0.0))
        keep_newest(visitor.rulings, right, ruling, MAX_RULINGS)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def refusal(visitor: Visitor, right: Right) -> SwitchboardError:
    """The error of a right that a client does not have; the log has it too."""
    extra = {"principal": visitor.principal, "verb": right.verb, "agent": right.name, "namespace": right.namespace}
    log.info("refused", extra=extra)
    return denied(visitor.user, right)


def _unavailable(error: ReviewFailed) -> SwitchboardError:
    message = f"the API server does not say who may do this: {str(error)[:200]}"
    return failure(pb.NODE_UNAVAILABLE, message, retry_after_ms=int(RETRY_S * 1000))
