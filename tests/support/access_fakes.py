"""The API server's two review APIs in memory, and a guard before them."""

import asyncio
import base64
import json
from dataclasses import dataclass, field
from typing import Any

from switchboard_gateway.access.guard import Guard, GuardRules
from switchboard_gateway.access.rights import Right
from switchboard_identity.asking import ReviewFailed

NOW = 1_800_000_000.0


def jwt_of(user: str, expires: float = NOW + 3600) -> str:
    """Three parts, as a token has them; its second says when it expires."""
    claims = base64.urlsafe_b64encode(json.dumps({"exp": expires, "sub": user}).encode()).decode().rstrip("=")
    return f"e30.{claims}.c2ln"


def _set_event() -> asyncio.Event:
    event = asyncio.Event()
    event.set()
    return event


@dataclass
class FakeReviews:
    """users: by token. rights: what each user may do. is_away: no answer; holds: answers come when it is set."""

    users: dict[str, str] = field(default_factory=dict)
    rights: dict[str, set[Right]] = field(default_factory=dict)
    is_away: bool = False
    holds: asyncio.Event = field(default_factory=_set_event)
    audiences: tuple[str, ...] = ("switchboard",)
    tokens_asked: int = 0
    rights_asked: list[Right] = field(default_factory=list)

    def grant(self, user: str, *rights: Right) -> str:
        """A token of the user, who has these rights."""
        self.rights.setdefault(user, set()).update(rights)
        token = jwt_of(user)
        self.users[token] = user
        return token

    async def token(self, review: dict[str, Any]) -> dict[str, Any]:
        self.tokens_asked += 1
        await self._turn()
        user = self.users.get(review["spec"]["token"])
        if user is None:
            return {"status": {"authenticated": False, "error": "invalid bearer token"}}
        said = {"username": user, "groups": ["system:authenticated"], "uid": "1", "extra": {"a": ["b"]}}
        return {"status": {"authenticated": True, "user": said, "audiences": list(self.audiences)}}

    async def access(self, review: dict[str, Any]) -> dict[str, Any]:
        spec = review["spec"]
        asked = spec["resourceAttributes"]
        right = Right(asked["verb"], asked.get("namespace", ""), asked.get("name", ""), asked["resource"])
        self.rights_asked.append(right)
        await self._turn()
        return {"status": {"allowed": right in self.rights.get(spec["user"], set())}}

    async def _turn(self) -> None:
        await asyncio.sleep(0)
        await self.holds.wait()
        if self.is_away:
            raise ReviewFailed("connection refused")


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def wall(self) -> float:
        return NOW + self.now


def make_guard(reviews: FakeReviews, clock: Clock, **rules: Any) -> Guard:
    return Guard(reviews, GuardRules(**rules), clock, clock.wall)
