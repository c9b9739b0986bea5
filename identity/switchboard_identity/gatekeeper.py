"""Lets a stream in by its token, and says when it has to end: its token ran out or was revoked, or its pod is gone."""

import asyncio
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from switchboard_identity.identities import Admission, Claims, Member, Refused
from switchboard_identity.membership import Membership, plain_address
from switchboard_identity.tokens import CLOCK_SKEW_S
from switchboard_wire.v1 import frames_pb2 as pb

log = logging.getLogger("switchboard.identity")

# A pod may dial before the EndpointSlices name it
LISTING_WAIT_S: Final = 5.0
# An endpoint that moves from one slice to another is in neither for a moment
GONE_S: Final = 5.0


# All streams begin together when a gateway starts; what is asked again of each must not come together for ever
SPREAD: Final = 0.2


class Tokens(Protocol):
    """Who reads tokens: `keys.KeyedTokens` or `reviewed_tokens.ReviewedTokens`."""

    async def read(self, token: str) -> Claims:
        """The pod of a token. Raises Refused."""
        ...


@dataclass(frozen=True, slots=True)
class CheckRules:
    """trust_domain: of the SPIFFE ids. check_source: the stream must come from the pod's own address.

    again_s: how often the token of a stream that lives is read again; None: never.
    """

    trust_domain: str = "cluster.local"
    check_source: bool = True
    again_s: float | None = None


class Gatekeeper:
    """Admits the streams of one port: one at a time for each pod.

    membership: None where no EndpointSlices are, as outside Kubernetes. wall: seconds since the epoch.
    """

    def __init__(
        self, tokens: Tokens, membership: Membership | None, rules: CheckRules, wall: Callable[[], float]
    ) -> None:
        self._tokens, self._membership, self._rules, self._wall = tokens, membership, rules, wall
        self._inside: dict[str, Admission] = {}
        self._missing: dict[str, asyncio.TimerHandle] = {}  # of those inside, until they are back or out
        if membership is not None:
            membership.on_change.append(self._members_changed)

    async def admit(self, token: str, source: str) -> Admission:
        """Let a stream in. source: the other end's IP address. Raises Refused."""
        claims = await self._check(token)
        member = await self._member(claims, plain_address(source))
        # Never displaced: who stole a token gains nothing as long as its owner is here
        if claims.pod_uid in self._inside:
            raise Refused(pb.PERMISSION_DENIED, f"pod {claims.pod} has a stream here already")
        loop = asyncio.get_running_loop()
        admission = Admission(claims, member, claims.spiffe_id(self._rules.trust_domain), loop.create_future())
        self._inside[claims.pod_uid] = admission
        self._set_expiry(admission, claims)
        if self._rules.again_s is not None:
            admission.token = token
            admission.looking = asyncio.create_task(self._keep_looking(admission, self._rules.again_s))
        return admission

    async def identify(self, token: str, source: str) -> Member | None:
        """Who asks, when it opens no stream; None without membership. Raises Refused."""
        return await self._member(await self._check(token), plain_address(source))

    async def renew(self, admission: Admission, token: str) -> None:
        """Take the fresh token of a stream that is inside. Raises Refused."""
        try:
            claims = await self._check(token)
        except Refused as refused:
            if refused.code == pb.NODE_UNAVAILABLE and admission.token:
                admission.token = token  # shown once; it is looked at when somebody can tell
            raise
        if claims.pod_uid != admission.claims.pod_uid:
            raise Refused(pb.PERMISSION_DENIED, "the fresh token is another pod's")
        if admission.token:
            admission.token = token
        self._set_expiry(admission, claims)

    def release(self, admission: Admission) -> None:
        """The stream has ended."""
        if admission.expiry is not None:
            admission.expiry.cancel()
        if admission.looking is not None:
            admission.looking.cancel()
        if self._inside.get(admission.claims.pod_uid) is admission:
            del self._inside[admission.claims.pod_uid]
            self._found_again(admission.claims.pod_uid)

    async def _check(self, token: str) -> Claims:
        if not token:
            raise Refused(pb.UNAUTHENTICATED, "a token is asked for here: HELLO carries none")
        return await self._tokens.read(token)

    async def _keep_looking(self, admission: Admission, pause_s: float) -> None:
        """Read the stream's token again and again; end the stream when it counts no longer."""
        while True:
            await asyncio.sleep(pause_s * random.uniform(1 - SPREAD, 1 + SPREAD))
            try:
                claims = await self._tokens.read(admission.token)
            except Refused as refused:
                if refused.code == pb.NODE_UNAVAILABLE:  # nobody can tell: what is inside stays
                    continue
                admission.revoke(f"its token counts no longer: {refused.message}")
                return
            if claims.pod_uid != admission.claims.pod_uid:
                admission.revoke("its fresh token is another pod's")
                return
            self._set_expiry(admission, claims)

    async def _member(self, claims: Claims, source: str) -> Member | None:
        if self._membership is None:
            return None
        member = await self._membership.wait_for(claims.pod_uid, LISTING_WAIT_S)
        if member is None and not self._membership.is_known:
            raise Refused(pb.NODE_UNAVAILABLE, "the EndpointSlices are not listed yet")
        if member is None:
            raise Refused(pb.PERMISSION_DENIED, f"pod {claims.pod} is in no EndpointSlice of an AgentNode")
        if member.namespace != claims.namespace:
            raise Refused(pb.PERMISSION_DENIED, f"pod {claims.pod} is listed in another namespace")
        if self._rules.check_source and source not in member.addresses:
            raise Refused(pb.PERMISSION_DENIED, f"the token is of pod {claims.pod}, the stream from {source}")
        return member

    def _set_expiry(self, admission: Admission, claims: Claims) -> None:
        if admission.expiry is not None:
            admission.expiry.cancel()
        left_s = max(0.0, claims.expires + CLOCK_SKEW_S - self._wall())
        loop = asyncio.get_running_loop()
        admission.expiry = loop.call_later(left_s, admission.revoke, "its token has expired and no fresh one came")

    def _members_changed(self) -> None:
        for uid in self._inside:
            if not self._is_gone(uid):
                self._found_again(uid)
            elif uid not in self._missing:
                self._missing[uid] = asyncio.get_running_loop().call_later(GONE_S, self._revoke_gone, uid)

    def _found_again(self, uid: str) -> None:
        """Or its stream has ended: nothing is to be revoked."""
        if (timer := self._missing.pop(uid, None)) is not None:
            timer.cancel()

    def _revoke_gone(self, uid: str) -> None:
        """It was missing all the time since."""
        admission = self._inside[uid]
        log.info("a pod is gone, its stream ends", extra={"pod": admission.claims.pod})
        admission.revoke("its pod is in no EndpointSlice any more")

    def _is_gone(self, uid: str) -> bool:
        return self._membership is not None and self._membership.find(uid) is None
