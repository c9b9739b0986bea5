"""Pods' tokens by the API server's review: what it proves, what is remembered, and what holds while nobody answers."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from identity_fakes import NOW, TokenOf, pod_slice

from switchboard_identity import gatekeeper, reviewed_tokens
from switchboard_identity.asking import ReviewFailed
from switchboard_identity.gatekeeper import CheckRules, Gatekeeper
from switchboard_identity.identities import Claims, Refused
from switchboard_identity.membership import Membership, members_of
from switchboard_identity.reviewed_tokens import POD_NAME, POD_UID, REFUSED_S, ReviewedTokens
from switchboard_wire.v1 import frames_pb2 as pb

GOOD = TokenOf()
OUTAGE_S = 60.0


@dataclass
class Api:
    """TokenReview in memory: it knows the tokens that were made here, and changes its answer as it is told to."""

    tokens: dict[str, TokenOf] = field(default_factory=dict)
    changes: dict[str, Any] = field(default_factory=dict)
    revoked: bool = False
    is_away: bool = False
    asked: int = 0

    def make(self, token: TokenOf = GOOD) -> str:
        text = token.sign()
        self.tokens[text] = token
        return text

    async def token(self, review: dict[str, Any]) -> dict[str, Any]:
        self.asked += 1
        await asyncio.sleep(0)
        if self.is_away:
            raise ReviewFailed("connection refused")
        assert review["spec"]["audiences"] == ["switchboard"]
        known = self.tokens.get(review["spec"]["token"])
        if known is None or self.revoked:
            return {"status": {"authenticated": False, "error": "invalid bearer token"}}
        name = f"system:serviceaccount:{known.namespace}:{known.service_account}"
        extra = {POD_NAME: [known.pod], POD_UID: [known.pod_uid]}
        user = {"username": name, "extra": extra} | self.changes.get("user", {})
        return {"status": {"authenticated": True, "user": user, "audiences": ["switchboard"]} | self.changes}


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now

    def wall(self) -> float:
        return NOW + self.now


def reader_of(api: Api, clock: Clock, outage_s: float = OUTAGE_S) -> ReviewedTokens:
    return ReviewedTokens(api, outage_s, clock, clock.wall)


async def refusal(reader: ReviewedTokens, token: str) -> tuple[int, str]:
    with pytest.raises(Refused) as refused:
        await reader.read(token)
    return refused.value.code, refused.value.message


async def test_a_review_names_the_pod_as_the_token_does() -> None:
    api = Api()
    assert await reader_of(api, Clock()).read(api.make()) == Claims("team", "writers", "writers-1", "uid-1", NOW + 3600)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        pytest.param({"authenticated": False, "error": "token has expired"}, "expired", id="an expired token"),
        pytest.param({"audiences": ["vault"]}, "audience", id="another audience"),
        pytest.param({"audiences": None}, "audience", id="a server that ignores audiences"),
        pytest.param({"user": {"username": "jane"}}, "not bound to a pod", id="a person"),
        pytest.param({"user": {"extra": {}}}, "not bound to a pod", id="a token without a pod"),
        pytest.param({"user": {"extra": {POD_NAME: ["a"]}}}, "not bound to a pod", id="a pod without a UID"),
    ],
)
async def test_what_the_review_does_not_bear_out_is_refused(changes: dict[str, Any], words: str) -> None:
    api = Api(changes=changes)
    if "user" in changes:
        whole = {"username": "system:serviceaccount:team:writers", "extra": {POD_NAME: ["a"], POD_UID: ["b"]}}
        api.changes = {"user": whole | changes["user"]}
    code, text = await refusal(reader_of(api, Clock()), api.make())
    assert (code, words in text) == (pb.UNAUTHENTICATED, True), text


@pytest.mark.parametrize("token", ["", "a b", "x" * 20_000], ids=["none", "space", "long"])
async def test_what_cannot_be_a_token_is_asked_of_nobody(token: str) -> None:
    api = Api()
    assert (await refusal(reader_of(api, Clock()), token))[0] == pb.UNAUTHENTICATED
    assert api.asked == 0


async def test_a_token_that_was_revoked_opens_nothing_from_then_on() -> None:
    api = Api()
    reader, token = reader_of(api, Clock()), api.make()
    await reader.read(token)
    api.revoked = True
    assert (await refusal(reader, token))[0] == pb.UNAUTHENTICATED
    api.is_away = True
    assert (await refusal(reader, token))[0] == pb.UNAUTHENTICATED, "what was known before must not count again"


async def test_a_pod_that_dials_in_vain_asks_no_more_than_now_and_then() -> None:
    api, clock = Api(), Clock()
    reader, token = reader_of(api, clock), GOOD.sign()
    for _ in range(5):
        await refusal(reader, token)
    assert api.asked == 1
    api.tokens[token] = GOOD
    clock.now = REFUSED_S + 1
    assert await reader.read(token)


async def test_many_streams_of_one_token_ask_one_question() -> None:
    api = Api()
    reader, token = reader_of(api, Clock()), api.make()
    await asyncio.gather(*(reader.read(token) for _ in range(20)))
    assert api.asked == 1


async def test_while_nobody_answers_the_known_come_back_for_a_while_and_nobody_else() -> None:
    api, clock = Api(), Clock()
    reader, known, other = reader_of(api, clock), api.make(), api.make(replace(GOOD, pod="b", pod_uid="uid-2"))
    await reader.read(known)
    api.is_away = True
    for now in (1.0, OUTAGE_S - 1):
        clock.now = now
        assert (await reader.read(known)).pod_uid == "uid-1"
        assert (await refusal(reader, other))[0] == pb.NODE_UNAVAILABLE
    clock.now = OUTAGE_S + 1
    code, text = await refusal(reader, known)
    assert (code, "come again" in text) == (pb.NODE_UNAVAILABLE, True)
    api.is_away = False
    assert await reader.read(other)


async def test_with_no_time_for_outages_nobody_comes_back_during_one() -> None:
    api = Api()
    reader, token = reader_of(api, Clock(), outage_s=0.0), api.make()
    await reader.read(token)
    api.is_away = True
    assert (await refusal(reader, token))[0] == pb.NODE_UNAVAILABLE


async def test_an_expired_token_gets_nobody_back_while_nobody_answers() -> None:
    api, clock = Api(), Clock()
    reader, token = reader_of(api, clock, outage_s=6000.0), api.make(replace(GOOD, expires=NOW + 100))
    await reader.read(token)
    api.is_away = True
    clock.now = 131.0
    assert (await refusal(reader, token))[0] == pb.NODE_UNAVAILABLE


async def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reviewed_tokens, "MAX_TOKENS", 3)
    api = Api()
    reader = reader_of(api, Clock())
    for number in range(10):
        await reader.read(api.make(replace(GOOD, pod_uid=f"uid-{number}")))
        await refusal(reader, f"made-up-{number}")
    assert (len(reader._vouched), len(reader._refused)) == (3, 3)


# Streams that live


@pytest.fixture
def keeper_of(monkeypatch: pytest.MonkeyPatch) -> Callable[[Api], Gatekeeper]:
    monkeypatch.setattr(gatekeeper, "SPREAD", 0.0)

    def make(api: Api) -> Gatekeeper:
        membership = Membership()
        membership.update(members_of([pod_slice("writers", ("writers-1", "uid-1", "10.0.0.1"))], "system"))
        return Gatekeeper(reader_of(api, Clock()), membership, CheckRules(again_s=0.01), lambda: NOW)

    return make


async def test_a_stream_that_lives_ends_when_its_token_is_revoked(keeper_of: Callable[[Api], Gatekeeper]) -> None:
    api = Api()
    keeper = keeper_of(api)
    admission = await keeper.admit(api.make(), "10.0.0.1")
    api.revoked = True
    async with asyncio.timeout(60):
        assert "counts no longer" in await admission.revoked
    keeper.release(admission)


async def test_a_stream_that_lives_stays_while_nobody_answers(keeper_of: Callable[[Api], Gatekeeper]) -> None:
    api = Api()
    keeper = keeper_of(api)
    admission = await keeper.admit(api.make(), "10.0.0.1")
    api.is_away = True
    before = api.asked
    async with asyncio.timeout(60):
        while api.asked < before + 3:
            await asyncio.sleep(0.005)
    assert not admission.revoked.done()
    keeper.release(admission)


async def test_a_fresh_token_that_nobody_could_tell_about_counts_once_somebody_can(
    keeper_of: Callable[[Api], Gatekeeper],
) -> None:
    api = Api()
    keeper = keeper_of(api)
    admission = await keeper.admit(api.make(replace(GOOD, expires=NOW + 600)), "10.0.0.1")
    api.is_away = True
    with pytest.raises(Refused):
        await keeper.renew(admission, api.make(GOOD))
    api.is_away = False
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(60):
        while admission.expiry is None or admission.expiry.when() - loop.time() < 3000:
            await asyncio.sleep(0.005)
    keeper.release(admission)


async def test_a_stream_that_ended_is_asked_about_no_more(keeper_of: Callable[[Api], Gatekeeper]) -> None:
    api = Api()
    keeper = keeper_of(api)
    admission = await keeper.admit(api.make(), "10.0.0.1")
    looking = admission.looking
    keeper.release(admission)
    assert looking is not None
    async with asyncio.timeout(60):
        await asyncio.gather(looking, return_exceptions=True)
    assert looking.cancelled()
