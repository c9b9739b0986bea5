"""The API server's published keys, kept: renewed for a key id that is new, and now and then; the last known count."""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

from switchboard_identity.identities import Claims, Refused
from switchboard_identity.tokens import InvalidToken, KeySet, UnknownKey, build_key_set, key_id_of, read_token
from switchboard_wire.names import TOKEN_AUDIENCE
from switchboard_wire.v1 import frames_pb2 as pb

log = logging.getLogger("switchboard.identity")

DISCOVERY_PATH: Final = "/.well-known/openid-configuration"
KEYS_PATH: Final = "/openid/v1/jwks"
# A key that was withdrawn counts for no longer than this while an API server answers
MAX_AGE_S: Final = 300.0
# Tokens with made-up key ids must not make this process ask the API server all the time
MIN_PAUSE_S: Final = 2.0
# An API server that hangs must not hold up those whose keys are known
FETCH_S: Final = 5.0

Get = Callable[[str], Awaitable[dict[str, Any]]]
Fetch = Callable[[], Awaitable[KeySet]]


class KeysUnavailable(Exception):
    """The keys cannot be had now."""


async def fetch_keys(get: Get) -> KeySet:
    """The keys and the issuer as the API server publishes them. Raises what `get` raises, and KeysUnavailable."""
    discovered, published = await get(DISCOVERY_PATH), await get(KEYS_PATH)
    issuer, keys = discovered.get("issuer"), published.get("keys")
    if not isinstance(issuer, str) or not isinstance(keys, list):
        raise KeysUnavailable("the API server publishes no issuer and keys")
    return build_key_set(issuer, keys)


def read_keys(path: Path, issuer: str) -> KeySet:
    """The keys of a JWKS file, for gateways outside Kubernetes. Raises OSError, ValueError."""
    return build_key_set(issuer, json.loads(path.read_text(encoding="utf-8"))["keys"])


class KeyCache:
    """Keys by id. failures: what `fetch` raises when the keys cannot be had."""

    def __init__(self, fetch: Fetch, failures: tuple[type[Exception], ...] = ()) -> None:
        self._fetch = fetch
        self._failures: tuple[type[Exception], ...] = (*failures, KeysUnavailable, TimeoutError, OSError)
        self._known: KeySet | None = None
        self._fetched = self._tried = float("-inf")
        self._lock = asyncio.Lock()
        self._renewal: asyncio.Task[None] | None = None

    async def find(self, key_id: str) -> KeySet:
        """The keys, with this one among them if the API server publishes it. Raises KeysUnavailable."""
        known, now = self._known, asyncio.get_running_loop().time()
        if known is not None and key_id in known.keys:
            if now - self._fetched > MAX_AGE_S and (self._renewal is None or self._renewal.done()):
                self._renewal = asyncio.create_task(self._renew())
            return known
        await self._renew()
        if self._known is None:
            raise KeysUnavailable("the API server's keys are not known yet")
        return self._known

    async def _renew(self) -> None:
        clock = asyncio.get_running_loop().time
        async with self._lock:
            if clock() - self._tried < MIN_PAUSE_S:
                return
            self._tried = clock()
            try:
                async with asyncio.timeout(FETCH_S):
                    self._known = await self._fetch()
            except self._failures as error:
                log.warning("the keys for tokens were not renewed", extra={"reason": str(error) or repr(error)})
                return
            self._fetched = clock()
            log.debug("keys for tokens", extra={"issuer": self._known.issuer, "keys": len(self._known.keys)})


class KeyedTokens:
    """Tokens as their signatures prove them. wall: seconds since the epoch."""

    def __init__(self, keys: KeyCache, wall: Callable[[], float]) -> None:
        self._keys, self._wall = keys, wall

    async def read(self, token: str) -> Claims:
        """The pod of a token. Raises Refused."""
        try:
            keys = await self._keys.find(key_id_of(token))
            return read_token(token, keys, TOKEN_AUDIENCE, self._wall())
        except KeysUnavailable as error:
            raise Refused(pb.NODE_UNAVAILABLE, str(error)) from error
        except (UnknownKey, InvalidToken) as error:
            raise Refused(pb.UNAUTHENTICATED, str(error)) from error
