"""What is remembered of clients, for how long, and what happens while nobody can be asked."""

import asyncio

import pytest
from access_fakes import Clock, FakeReviews, jwt_of, make_guard

from switchboard_gateway.access import guard as guard_module
from switchboard_gateway.access.guard import REFUSED_S, RETRY_S
from switchboard_gateway.access.rights import INVOKE, Right
from switchboard_identity import asking
from switchboard_wire.errors import NodeUnavailable, PermissionDenied, SwitchboardError, Unauthenticated

ECHO = Right(INVOKE, "default", "echo")
OTHER = Right(INVOKE, "default", "other")


async def test_a_client_is_asked_about_once_within_the_time_and_again_after_it() -> None:
    reviews, clock = FakeReviews(), Clock()
    guard = make_guard(reviews, clock, cache_s=30.0)
    token = reviews.grant("bot", ECHO)
    visitor = await guard.require(token, ECHO)
    clock.now = 29.0
    assert await guard.require(token, ECHO) is visitor
    assert (reviews.tokens_asked, reviews.rights_asked) == (1, [ECHO])
    clock.now = 31.0
    await guard.require(token, ECHO)
    assert (reviews.tokens_asked, reviews.rights_asked) == (2, [ECHO, ECHO])


async def test_a_client_is_recalled_while_what_is_known_of_it_counts() -> None:
    reviews, clock = FakeReviews(), Clock()
    guard = make_guard(reviews, clock, cache_s=30.0)
    token = reviews.grant("bot", ECHO)
    assert guard.recall(token, [ECHO]) is None
    visitor = await guard.require(token, ECHO)
    assert guard.recall(token, [ECHO]) is visitor
    assert guard.recall(token, [ECHO, OTHER]) is None  # nobody has asked about the other
    clock.now = 31.0
    assert guard.recall(token, [ECHO]) is None
    assert (reviews.tokens_asked, reviews.rights_asked) == (1, [ECHO])


async def test_a_client_without_the_right_is_not_recalled() -> None:
    reviews = FakeReviews()
    guard = make_guard(reviews, Clock())
    token = reviews.grant("bot")
    with pytest.raises(PermissionDenied):
        await guard.require(token, ECHO)
    assert guard.recall(token, [ECHO]) is None


@pytest.mark.parametrize("token", ["", "x", "\udcff", "ä"])
def test_nobody_is_recalled_by_what_is_no_token(token: str) -> None:
    assert make_guard(FakeReviews(), Clock()).recall(token, [ECHO]) is None


async def test_many_that_come_at_once_ask_one_question() -> None:
    reviews = FakeReviews()
    guard = make_guard(reviews, Clock())
    token = reviews.grant("bot", ECHO)
    await asyncio.gather(*(guard.require(token, ECHO) for _ in range(50)))
    assert (reviews.tokens_asked, reviews.rights_asked) == (1, [ECHO])


async def test_one_that_gives_up_waiting_leaves_the_answer_to_the_others() -> None:
    reviews = FakeReviews()
    guard = make_guard(reviews, Clock())
    token = reviews.grant("bot", ECHO)
    first, second = (asyncio.create_task(guard.enter(token)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    assert (await second).user.name == "bot"
    assert reviews.tokens_asked == 1


async def test_a_right_that_is_taken_away_ends_with_the_time_that_answers_count() -> None:
    reviews, clock = FakeReviews(), Clock()
    guard = make_guard(reviews, clock, cache_s=30.0)
    token = reviews.grant("bot", ECHO)
    await guard.require(token, ECHO)
    reviews.rights["bot"].clear()
    clock.now = 29.0
    await guard.require(token, ECHO)
    clock.now = 31.0
    with pytest.raises(PermissionDenied):
        await guard.require(token, ECHO)


async def test_a_right_that_is_granted_is_seen_within_seconds() -> None:
    reviews, clock = FakeReviews(), Clock()
    guard = make_guard(reviews, clock)
    token = reviews.grant("bot")
    for _ in range(3):
        with pytest.raises(PermissionDenied):
            await guard.require(token, ECHO)
    assert reviews.rights_asked == [ECHO]
    reviews.grant("bot", ECHO)
    clock.now = REFUSED_S + 1
    await guard.require(token, ECHO)


async def test_a_token_that_is_not_good_is_remembered_for_seconds() -> None:
    reviews, clock = FakeReviews(), Clock()
    guard = make_guard(reviews, clock)
    token = jwt_of("stranger")
    for _ in range(3):
        with pytest.raises(Unauthenticated):
            await guard.enter(token)
    assert reviews.tokens_asked == 1
    reviews.users[token] = "stranger"
    clock.now = REFUSED_S + 1
    assert (await guard.enter(token)).principal == "user:stranger"


async def test_a_token_counts_no_longer_than_it_says_itself() -> None:
    reviews, clock = FakeReviews(), Clock()
    guard = make_guard(reviews, clock, cache_s=30.0)
    token = jwt_of("bot", clock.wall() + 10)
    reviews.users[token] = "bot"
    await guard.enter(token)
    del reviews.users[token]
    clock.now = 9.0
    await guard.enter(token)
    clock.now = 11.0
    with pytest.raises(Unauthenticated):
        await guard.enter(token)


async def test_nobody_new_gets_in_while_the_api_server_is_away_and_is_told_to_come_again() -> None:
    reviews = FakeReviews(is_away=True)
    guard = make_guard(reviews, Clock())
    token = reviews.grant("bot", ECHO)
    with pytest.raises(NodeUnavailable) as caught:
        await guard.enter(token)
    assert caught.value.retry_after_s == RETRY_S
    reviews.is_away = False
    visitor = await guard.enter(token)
    reviews.is_away = True
    with pytest.raises(NodeUnavailable):
        await guard.settle(visitor, [ECHO])


async def test_what_was_granted_before_counts_while_the_api_server_is_away_and_then_no_more() -> None:
    reviews, clock = FakeReviews(), Clock()
    guard = make_guard(reviews, clock, cache_s=30.0, outage_s=60.0)
    token = reviews.grant("bot", ECHO)
    await guard.require(token, ECHO)
    reviews.is_away = True
    for now in (31.0, 50.0, 89.0):
        clock.now = now
        await guard.require(token, ECHO)
    clock.now = 95.0
    with pytest.raises(NodeUnavailable):
        await guard.require(token, ECHO)


async def test_what_was_refused_before_stays_refused_while_the_api_server_is_away() -> None:
    reviews, clock = FakeReviews(), Clock()
    guard = make_guard(reviews, clock, cache_s=30.0, outage_s=60.0)
    token = reviews.grant("bot", ECHO)
    await guard.require(token, ECHO)
    with pytest.raises(PermissionDenied):
        await guard.require(token, OTHER)
    reviews.is_away = True
    clock.now = 31.0
    with pytest.raises(SwitchboardError) as caught:
        await guard.require(token, OTHER)
    assert isinstance(caught.value, PermissionDenied | NodeUnavailable)


async def test_an_expired_token_gets_nobody_in_while_the_api_server_is_away() -> None:
    reviews, clock = FakeReviews(), Clock()
    guard = make_guard(reviews, clock, cache_s=30.0, outage_s=600.0)
    token = jwt_of("bot", clock.wall() + 40)
    reviews.users[token] = "bot"
    await guard.enter(token)
    reviews.is_away = True
    clock.now = 39.0
    await guard.enter(token)
    clock.now = 41.0
    with pytest.raises(NodeUnavailable):
        await guard.enter(token)


async def test_known_clients_wait_once_for_an_api_server_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "REVIEW_S", 0.01)
    reviews, clock = FakeReviews(), Clock()
    guard = make_guard(reviews, clock, cache_s=30.0)
    token = reviews.grant("bot", ECHO)
    visitor = await guard.require(token, ECHO)
    reviews.holds.clear()
    clock.now = 31.0
    assert await guard.require(token, ECHO) is visitor
    monkeypatch.setattr(asking, "REVIEW_S", 3600.0)
    clock.now = 40.0
    async with asyncio.timeout(60):
        assert await guard.require(token, ECHO) is visitor


async def test_made_up_tokens_push_out_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard_module, "MAX_TOKENS", 3)
    reviews = FakeReviews()
    guard = make_guard(reviews, Clock())
    token = reviews.grant("bot", ECHO)
    await guard.enter(token)
    for number in range(20):
        with pytest.raises(Unauthenticated):
            await guard.enter(f"made-up-{number}")
    asked = reviews.tokens_asked
    await guard.enter(token)
    assert reviews.tokens_asked == asked


async def test_what_is_remembered_of_one_client_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard_module, "MAX_RULINGS", 3)
    reviews = FakeReviews()
    guard = make_guard(reviews, Clock())
    visitor = await guard.enter(reviews.grant("bot"))
    await guard.settle(visitor, [Right(INVOKE, "default", f"a{number}") for number in range(20)])
    assert len(visitor.rulings) <= 3


async def test_of_many_agents_those_that_may_be_reached_are_told() -> None:
    reviews = FakeReviews()
    guard = make_guard(reviews, Clock())
    visitor = await guard.enter(reviews.grant("bot", ECHO))
    assert await guard.narrow(visitor, [ECHO, OTHER]) == {("default", "echo")}
    with pytest.raises(PermissionDenied):
        await guard.narrow(visitor, [OTHER])
