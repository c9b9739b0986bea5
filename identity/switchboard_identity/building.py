"""A gatekeeper as the settings ask for it."""

import functools
import time
from typing import Protocol

from switchboard_identity.gatekeeper import CheckRules, Gatekeeper
from switchboard_identity.keys import Fetch, KeyCache, fetch_keys, read_keys
from switchboard_identity.membership import Membership
from switchboard_identity.settings import IdentitySettings
from switchboard_identity.tokens import KeySet
from switchboard_kube import ApiError, Json


class RawApi(Protocol):
    """What publishes the keys of tokens."""

    async def raw_get(self, path: str) -> Json:
        """Read a path. Raises ApiError."""
        ...


def build_gatekeeper(
    settings: IdentitySettings, api: RawApi | None, membership: Membership | None
) -> Gatekeeper | None:
    """None when streams need no token. api: None outside Kubernetes, where a file has the keys. Raises ValueError."""
    if not settings.checks:
        return None
    rules = CheckRules(trust_domain=settings.trust_domain, check_source=settings.check_source)
    return Gatekeeper(KeyCache(_fetch(settings, api), (ApiError, ValueError)), membership, rules, time.time)


def _fetch(settings: IdentitySettings, api: RawApi | None) -> Fetch:
    path = settings.keys_path
    if path is not None:

        async def from_file() -> KeySet:
            return read_keys(path, settings.issuer)

        return from_file
    if api is None:
        raise ValueError("tokens are to be checked, and there are no keys: name a JWKS file")
    return functools.partial(fetch_keys, api.raw_get)
