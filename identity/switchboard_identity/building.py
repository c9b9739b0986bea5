"""A gatekeeper as the settings ask for it."""

import asyncio
import functools
import time
from typing import Final, Protocol

from switchboard_identity.asking import Count, count_nothing
from switchboard_identity.gatekeeper import CheckRules, Gatekeeper, Tokens
from switchboard_identity.keys import Fetch, KeyCache, KeyedTokens, fetch_keys, read_keys
from switchboard_identity.kube_reviews import Creating, KubeReviews
from switchboard_identity.membership import Membership
from switchboard_identity.reviewed_tokens import ReviewedTokens
from switchboard_identity.settings import IdentitySettings
from switchboard_identity.tokens import KeySet
from switchboard_kube import ApiError, Json

# A token that was revoked ends a stream that lives within this time; a thousand pods are some 3 questions a second each
# at every replica
AGAIN_S: Final = 300.0


class TokenApi(Creating, Protocol):
    """What knows of tokens: it publishes their keys, and reviews them."""

    async def raw_get(self, path: str) -> Json:
        """Read a path. Raises ApiError."""
        ...


def build_gatekeeper(
    settings: IdentitySettings, api: TokenApi | None, membership: Membership | None, count: Count = count_nothing
) -> Gatekeeper | None:
    """None when streams need no token. api: None outside Kubernetes, where a file has the keys. Raises ValueError.

    count: told of each review.
    """
    if not settings.checks:
        return None
    again_s = AGAIN_S if settings.reviews else None
    rules = CheckRules(settings.trust_domain, settings.check_source, again_s)
    return Gatekeeper(_tokens(settings, api, count), membership, rules, time.time)


def _tokens(settings: IdentitySettings, api: TokenApi | None, count: Count) -> Tokens:
    if not settings.reviews:
        return KeyedTokens(KeyCache(_fetch(settings, api), (ApiError, ValueError)), time.time)
    if api is None:
        raise ValueError("tokens are to be reviewed, and there is no API server to ask: check them by keys")
    return ReviewedTokens(KubeReviews(api), settings.outage_s, asyncio.get_running_loop().time, time.time, count)


def _fetch(settings: IdentitySettings, api: TokenApi | None) -> Fetch:
    path = settings.keys_path
    if path is not None:

        async def from_file() -> KeySet:
            return read_keys(path, settings.issuer)

        return from_file
    if api is None:
        raise ValueError("tokens are to be checked, and there are no keys: name a JWKS file")
    return functools.partial(fetch_keys, api.raw_get)
