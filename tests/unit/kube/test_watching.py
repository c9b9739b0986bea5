"""A watch goes on whatever happens, and tells what was missed."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from switchboard_kube import ApiError, Event, Gone, Invalid, Json, Listing, Unavailable
from switchboard_kube.errors import error_of
from switchboard_kube.watching import Backoff, follow

Change = tuple[str, Json]


def make_object(name: str, version: str = "1", uid: str = "") -> Json:
    return {"metadata": {"name": name, "namespace": "ns", "uid": uid or f"uid-{name}", "resourceVersion": version}}


class Script:
    """Listings and watches in the order in which they are to be asked for; then silence."""

    def __init__(self, listings: list[Listing | ApiError], watches: list[list[Change | ApiError]]) -> None:
        self._listings = iter(listings)
        self._watches = iter(watches)
        self.versions: list[str] = []

    async def list_once(self) -> Listing:
        answer = next(self._listings)
        if isinstance(answer, ApiError):
            raise answer
        return answer

    async def watch_once(self, version: str) -> AsyncIterator[Change]:
        self.versions.append(version)
        for step in next(self._watches, None) or [None]:  # type: ignore[list-item]
            if step is None:
                await asyncio.Event().wait()
            elif isinstance(step, ApiError):
                raise step
            else:
                yield step


async def collect(script: Script, count: int) -> list[tuple[str, str]]:
    told: list[tuple[str, str]] = []
    events = follow(script.list_once, script.watch_once, Backoff(first_s=0.001), what="things")
    async for event in events:
        told.append(_summary(event))
        if len(told) == count:
            break
    await events.aclose()  # type: ignore[attr-defined]
    return told


def _summary(event: Event) -> tuple[str, str]:
    metadata: dict[str, Any] = event.object.get("metadata", {})
    return event.type.value, metadata.get("name", "")


async def test_a_listing_is_told_then_synced_then_the_changes() -> None:
    script = Script(
        [Listing((make_object("a"),), "5")], [[("ADDED", make_object("b", "6")), ("DELETED", make_object("a", "7"))]]
    )
    assert await collect(script, 4) == [("APPLIED", "a"), ("SYNCED", ""), ("APPLIED", "b"), ("DELETED", "a")]


async def test_a_lost_watch_resumes_at_the_last_version_that_was_seen() -> None:
    lost = Unavailable(0, "", "connection lost")
    script = Script(
        [Listing((), "5")],
        [
            [("ADDED", make_object("a", "6")), ("BOOKMARK", make_object("", "9")), lost],
            [("ADDED", make_object("b", "10"))],
        ],
    )
    assert await collect(script, 3) == [("SYNCED", ""), ("APPLIED", "a"), ("APPLIED", "b")]
    assert script.versions == ["5", "9"]


async def test_a_lost_history_is_listed_again_with_the_deletions_that_were_missed() -> None:
    first = Listing((make_object("a"), make_object("b"), make_object("c")), "5")
    second = Listing((make_object("b"), make_object("c", uid="another")), "50")
    script = Script([first, second], [[Gone(410, "Expired", "too old")]])
    told = await collect(script, 9)
    assert told[4:] == [("DELETED", "a"), ("DELETED", "c"), ("APPLIED", "b"), ("APPLIED", "c"), ("SYNCED", "")]


async def test_a_server_that_is_away_is_asked_until_it_answers() -> None:
    script = Script(
        [Unavailable(503, "", "down"), Unavailable(0, "", "refused"), Listing((make_object("a"),), "5")], []
    )
    assert await collect(script, 2) == [("APPLIED", "a"), ("SYNCED", "")]


def test_pauses_grow_to_their_limit_and_begin_anew_after_success() -> None:
    backoff = Backoff(first_s=1.0, longest_s=8.0, rng=random.Random(1))
    pauses = [backoff.next_s() for _ in range(40)]
    assert all(
        low <= pause <= high for pause, (low, high) in zip(pauses, [(0.5, 1), (1, 2), (2, 4), (4, 8)], strict=False)
    )
    assert all(4 <= pause <= 8 for pause in pauses[3:])
    backoff.reset()
    assert backoff.next_s() <= 1.0


def test_a_pause_is_never_shorter_than_the_server_asked() -> None:
    assert Backoff().next_s(at_least_s=20.0) == 20.0


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        pytest.param(lambda: error_of(422, "Invalid", "spec.x: bad"), Invalid, id="a refused field is invalid"),
        pytest.param(
            lambda: error_of(
                500, "InternalError", "failed to create typed patch object (x): .spec.y: field not declared"
            ),
            Invalid,
            id="an apply that does not fit the schema is invalid although it is a 500",
        ),
        pytest.param(lambda: error_of(503, "", "down"), Unavailable, id="a server that is down is unavailable"),
        pytest.param(lambda: error_of(429, "", "slow down", 3.0), Unavailable, id="too many requests is unavailable"),
        pytest.param(lambda: error_of(410, "Expired", "old"), Gone, id="an old version is gone"),
    ],
)
def test_errors_have_their_kind(make: Callable[[], ApiError], kind: type[ApiError]) -> None:
    assert type(make()) is kind
