"""Pods' tokens as the API server's TokenReview tells of them, asked anew each time; the last yes is for outages alone.

So a token that was revoked opens nothing from then on. While the API server does not answer, a pod that it vouched for
within `outage_s` is let in without waiting, and everybody else is told to come again.
"""

import hashlib
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final, Protocol

from switchboard_identity.asking import NO, YES, Asker, Count, ReviewFailed, count_nothing, keep_newest
from switchboard_identity.flights import Flights
from switchboard_identity.identities import Claims, Refused
from switchboard_identity.reviews import Json, User, check_shape, expiry_of, read_user, token_review
from switchboard_identity.tokens import CLOCK_SKEW_S
from switchboard_wire.errors import SwitchboardError
from switchboard_wire.names import TOKEN_AUDIENCE
from switchboard_wire.v1 import frames_pb2 as pb

# A token that was refused is asked about again after this time: a pod that dials in vain does so again and again
REFUSED_S: Final = 5.0
# Tokens that are remembered: a few for each pod; refused ones apart, so that made-up ones push out nobody
MAX_TOKENS: Final = 20_000
POD_NAME: Final = "authentication.kubernetes.io/pod-name"
POD_UID: Final = "authentication.kubernetes.io/pod-uid"


class TokenReviews(Protocol):
    """The API server's TokenReview."""

    async def token(self, review: Json) -> Json:
        """Whose token it is. Raises ReviewFailed."""
        ...


@dataclass(frozen=True, slots=True)
class _Vouched:
    """A pod for which the API server has spoken. until: when that counts no longer, on the wall clock."""

    claims: Claims
    until: float


class ReviewedTokens:
    """Has `read` as `keys.KeyedTokens` has it. clock: seconds of the loop; wall: seconds since the epoch."""

    def __init__(
        self,
        reviews: TokenReviews,
        outage_s: float,
        clock: Callable[[], float],
        wall: Callable[[], float],
        count: Count = count_nothing,
    ) -> None:
        self._reviews, self._outage_s, self._clock, self._wall = reviews, outage_s, clock, wall
        self._asker = Asker("pods", clock, count)
        self._flights = Flights()
        self._vouched: dict[bytes, _Vouched] = {}  # by the token's digest: a dump of this shows no token
        self._refused: dict[bytes, tuple[Refused, float]] = {}

    async def read(self, token: str) -> Claims:
        """The pod of a token. Raises Refused."""
        try:
            check_shape(token)
        except SwitchboardError as error:
            raise Refused(pb.UNAUTHENTICATED, error.error.message) from error
        key = hashlib.sha256(token.encode()).digest()
        refused = self._refused.get(key)
        if refused is not None and self._clock() < refused[1]:
            raise Refused(refused[0].code, refused[0].message)

        def ask() -> Coroutine[Any, Any, Claims]:
            return self._ask(key, token)

        if self._asker.is_away and (vouched := self._find(key)) is not None:
            self._flights.start(key, ask)  # perhaps it is back
            return vouched.claims
        return await self._flights.join(key, ask)

    def _find(self, key: bytes) -> _Vouched | None:
        vouched = self._vouched.get(key)
        return vouched if vouched is not None and self._wall() < vouched.until else None

    async def _ask(self, key: bytes, token: str) -> Claims:
        try:
            answer = await self._asker.ask(lambda: self._reviews.token(token_review(token, TOKEN_AUDIENCE)), "token")
            claims = claims_of(read_user(answer, TOKEN_AUDIENCE), expiry_of(token))
        except ReviewFailed as error:
            if (vouched := self._find(key)) is not None:
                return vouched.claims
            message = f"the API server does not say whose token it is, come again: {str(error)[:200]}"
            raise Refused(pb.NODE_UNAVAILABLE, message) from error
        except SwitchboardError as error:
            raise self._note(key, Refused(pb.UNAUTHENTICATED, error.error.message)) from error
        except Refused as refused:
            raise self._note(key, refused) from None
        self._asker.count("token", YES)
        until = min(self._wall() + self._outage_s, claims.expires + CLOCK_SKEW_S)
        self._refused.pop(key, None)
        keep_newest(self._vouched, key, _Vouched(claims, until), MAX_TOKENS)
        return claims

    def _note(self, key: bytes, refused: Refused) -> Refused:
        """A token that the API server does not take is good no longer, whatever was known of it."""
        self._asker.count("token", NO)
        self._vouched.pop(key, None)
        keep_newest(self._refused, key, (refused, self._clock() + REFUSED_S), MAX_TOKENS)
        return refused


def claims_of(user: User, expires: float | None) -> Claims:
    """The pod to which a token is bound. expires: as the token says. Raises Refused when it is bound to none."""
    extra = dict(user.extra)
    pod, uid = extra.get(POD_NAME, ()), extra.get(POD_UID, ())
    if user.account is None or len(pod) != 1 or len(uid) != 1 or not uid[0] or expires is None:
        raise Refused(pb.UNAUTHENTICATED, "the token is not bound to a pod")
    namespace, account = user.account
    return Claims(namespace, account, pod[0], uid[0], expires)
